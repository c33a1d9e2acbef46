package wire

import (
	"encoding/json"
	"testing"

	"pgregory.net/rapid"
)

func TestATicketsPayloadIsWhatJSONMakesOfIt(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[A-Za-z0-9 ._:@"\\<>&-]{0,20}`))
		ticket := Ticket{
			Subject: text.Draw(t, "sub"), Service: text.Draw(t, "svc"), Purpose: Purpose(text.Draw(t, "pur")),
			IssuedAt: rapid.Int64().Draw(t, "iat"), ExpiresAt: rapid.Int64().Draw(t, "exp"), Nonce: text.Draw(t, "nonce"),
			AgentID: text.Draw(t, "aid"), ProxyConfigID: text.Draw(t, "pid"), CreationID: text.Draw(t, "cid"), Mode: text.Draw(t, "mode"),
		}
		want, err := json.Marshal(ticket)
		if err != nil {
			t.Fatal(err)
		}
		if got := ticket.appendJSON(nil); string(got) != string(want) {
			t.Fatalf("got  %s\nwant %s", got, want)
		}
	})
}
