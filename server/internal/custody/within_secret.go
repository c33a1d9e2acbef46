//go:build goexperiment.runtimesecret

package custody

import "runtime/secret"

// within runs work with keys, and erases what it leaves in registers and on the
// stack before it returns, and on the heap once that is unreachable and collected.
// Every allocation inside has a price, so that work is kept to keys. Where the
// runtime has no support (linux on amd64 and arm64 has), it only runs work.
func within(work func()) { secret.Do(work) }
