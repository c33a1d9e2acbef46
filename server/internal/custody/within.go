//go:build !goexperiment.runtimesecret

package custody

// within runs work with keys. In builds with GOEXPERIMENT=runtimesecret it also
// erases what the work leaves in registers, on the stack and, once unreachable,
// on the heap: among it AES key schedules and the copies that the standard
// library makes of keys, which nobody outside can clear. Without it,
// only this package's own buffers are cleared.
func within(work func()) { work() }
