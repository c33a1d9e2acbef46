package totp_test

import (
	"errors"
	"fmt"
	"time"

	"github.com/tvzero/tokenvault/totp"
)

func Example() {
	key, err := totp.Parse("otpauth://totp/Example:alice?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Example&digits=8")
	if err != nil {
		fmt.Println(err)
		return
	}
	code, err := key.At(time.Unix(1111111109, 0))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(key.Issuer(), key.Account(), code.Value, code.RemainingSeconds())
	// Output: Example alice 07081804 1
}

func ExampleParse_pasted() {
	key, err := totp.Parse("gezd gnbv gy3t qojq gezd gnbv gy3t qojq")
	fmt.Println(key.Secret(), err)
	// Output: GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ <nil>
}

func ExampleFieldError() {
	_, err := totp.Parse("otpauth://totp/alice?secret=GEZDGNBVGY3TQOJQ&period=10")
	var field *totp.FieldError
	if errors.As(err, &field) {
		fmt.Println(field.Field)
	}
	fmt.Println(err)
	// Output:
	// period
	// totp: period is not 15 to 120 whole seconds
}
