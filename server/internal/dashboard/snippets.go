package dashboard

import (
	"fmt"
	"strconv"
)

// A snippet is something ready to be copied, one panel of the part "tabs".
type snippet struct {
	ID    string // within the page
	Label string
	Text  string
	Note  string // below it
}

// keyPlaceholder stands where the agent's key belongs, on pages that do not have it.
const keyPlaceholder = "tvagent_…"

// agentSnippets are how an agent fetches a credential of an account of the mode. They
// name what a shell or Go has to quote nowhere: the public URL comes from the
// operator, and a service name has no quotes.
func (d *Dashboard) agentSnippets(webhook bool, service, key string) []snippet {
	if service == "" {
		service = "SERVICE"
	}
	if key == "" {
		key = keyPlaceholder
	}
	return []snippet{
		d.curlSnippet(webhook, service),
		{
			ID: "env", Label: "Environment",
			Text: fmt.Sprintf("TOKENVAULT_URL='%s'\nTOKENVAULT_AGENT_KEY='%s'\n", d.publicURL(), key),
			Note: "For a file that the agent alone can read (chmod 600). The other snippets take the key from there.",
		},
		d.goSnippet(service),
		d.mcpSnippet(),
	}
}

// mcpSnippet is in the form that most clients read; they put the variable in.
func (d *Dashboard) mcpSnippet() snippet {
	return snippet{
		ID: "mcp", Label: "MCP client",
		Text: fmt.Sprintf(`{
  "mcpServers": {
    "tokenvault": {
      "type": "http",
      "url": "%s/mcp",
      "headers": {"Authorization": "Bearer ${TOKENVAULT_AGENT_KEY}"}
    }
  }
}
`, d.publicURL()),
		Note: "For .mcp.json and the like. Tools: list_credentials and get_credential. What a model fetches goes through its context: grant it little, and for a short time.",
	}
}

func (d *Dashboard) curlSnippet(webhook bool, service string) snippet {
	const header = `printf 'Authorization: Bearer %s\n' "$TOKENVAULT_AGENT_KEY" |` + "\n"
	if !webhook {
		return snippet{
			ID: "curl", Label: "curl",
			Text: header + fmt.Sprintf("  curl -fsS --header @- \\\n    --get --data-urlencode 'service=%s' \\\n    '%s'\n", service, d.credentialsURL()),
			Note: "The answer is the credential, opened with the agent's own key. The key is not in the list of processes.",
		}
	}
	return snippet{
		ID: "curl", Label: "curl",
		Text: "url=$(" + header + fmt.Sprintf("  curl -fsS --header @- --output /dev/null \\\n    --write-out '%%{redirect_url}' \\\n    --get --data-urlencode 'service=%s' \\\n    '%s')\n", service, d.credentialsURL()) +
			"curl -fsS \"$url\"\n",
		Note: "The second request goes to your webhook, without the agent's key: do not let curl follow the redirect by itself. The ticket in the address works once, within 15 seconds.",
	}
}

func (d *Dashboard) goSnippet(service string) snippet {
	return snippet{
		ID: "go", Label: "Go",
		Text: fmt.Sprintf(`package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/tvzero/tokenvault/webhook-sdk/agent"
)

func main() {
	vault, err := agent.New(%s, os.Getenv("TOKENVAULT_AGENT_KEY"), agent.Options{})
	if err != nil {
		log.Fatal(err)
	}
	credential, err := vault.Credential(context.Background(), %s)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("a token of", len(credential.AccessToken()), "characters")
}
`, strconv.Quote(d.publicURL()), strconv.Quote(service)),
		Note: "Ask each time that you need it: a release takes milliseconds. Both modes are the same to it.",
	}
}

// runSnippets are how a webhook is started that is going to be bound here.
func (d *Dashboard) runSnippets() []snippet {
	program := snippet{
		ID: "program", Label: "Program",
		Text: `# once: the seed opens what will be stored, so keep a copy of it elsewhere
head -c 48 /dev/urandom | base64 >webhook-seed
head -c 32 /dev/urandom | base64 >webhook-admin-secret
chmod 0600 webhook-seed webhook-admin-secret

TV_WEBHOOK_EXTERNAL_URL=https://webhook.example.com \
TV_WEBHOOK_TOKENVAULT_URL=` + d.publicURL() + ` \
TV_WEBHOOK_SEED_FILE=webhook-seed \
TV_WEBHOOK_ADMIN_SECRET_FILE=webhook-admin-secret \
bin/tv-webhook
`,
		Note: "make build in this project's source makes bin/tv-webhook: one static program. It listens on 127.0.0.1:8080; a reverse proxy of yours speaks TLS in front of it.",
	}
	compose := snippet{
		ID: "compose", Label: "Containers",
		Text: `scripts/compose-secrets
export TOKENVAULT_PUBLIC_URL=` + d.publicURL() + `
export TV_WEBHOOK_EXTERNAL_URL=https://webhook.example.com
docker compose --profile webhook up --detach webhook
`,
		Note: "In a copy of this project's source, on a machine of yours. The admin secret is in docker/secrets/webhook_admin_secret.",
	}
	list := []snippet{program, compose}
	if d.local() {
		list = append([]snippet{{
			ID: "here", Label: "On this machine",
			Text: "TV_WEBHOOK_TOKENVAULT_URL=" + d.publicURL() + " go run ./webhook-sdk/cmd/tv-webhook\n",
			Note: "To try it out, in this project's source. Its address is http://127.0.0.1:8080 then; it keeps what you store in ./tv-webhook-data.",
		}}, list...)
	}
	return list
}
