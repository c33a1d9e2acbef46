package netguard_test

import (
	"errors"
	"fmt"

	"github.com/tvzero/tokenvault/webhook-sdk/netguard"
)

func ExamplePolicy_Client() {
	client := netguard.Policy{}.Client()
	_, err := client.Get("https://169.254.169.254/latest/meta-data/")
	fmt.Println(errors.Is(err, netguard.ErrBlocked))
	// Output: true
}
