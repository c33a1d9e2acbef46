//go:build !race

package platform_test

const readersAtOnce = 1000
