package agent_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/tvzero/tokenvault/webhook-sdk/agent"
)

// An agent takes its server and key from its environment and fetches a fresh
// credential each time it needs one.
func Example() {
	vault, err := agent.New(os.Getenv("TOKENVAULT_URL"), os.Getenv("TOKENVAULT_AGENT_KEY"), agent.Options{})
	if err != nil {
		fmt.Println("the environment is not set up")
		return
	}
	github, err := vault.Credential(context.Background(), "github")
	var refused *agent.Error
	if errors.As(err, &refused) && refused.Code == "NO_GRANT" {
		fmt.Println("ask the owner for a credential grant:", refused.Message)
		return
	}
	request, _ := http.NewRequest(http.MethodGet, "https://api.github.com/user", nil)
	request.Header.Set("Authorization", "Bearer "+github.AccessToken())
	// Output: the environment is not set up
}
