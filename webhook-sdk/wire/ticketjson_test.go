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

func TestTheQuickReaderAgreesWithJSONOrStepsAside(t *testing.T) {
	t.Parallel()
	quick := 0
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.OneOf(rapid.StringMatching(`[a-z0-9-]{0,12}`), rapid.StringMatching(`[a-z",:{}\\]{0,12}`), rapid.String())
		ticket := Ticket{
			Subject: text.Draw(t, "sub"), Service: text.Draw(t, "svc"), Purpose: Purpose(text.Draw(t, "pur")),
			IssuedAt: rapid.Int64().Draw(t, "iat"), ExpiresAt: rapid.Int64().Draw(t, "exp"), Nonce: text.Draw(t, "nonce"),
			AgentID: text.Draw(t, "aid"), ProxyConfigID: text.Draw(t, "pid"), CreationID: text.Draw(t, "cid"), Mode: text.Draw(t, "mode"),
		}
		payload := ticket.appendJSON(nil)
		if rapid.Bool().Draw(t, "damaged") {
			payload[rapid.IntRange(0, len(payload)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		}
		got, ok := parseCanonical(payload)
		if !ok {
			return
		}
		quick++
		var want Ticket
		if err := json.Unmarshal(payload, &want); err != nil || got != want {
			t.Fatalf("%s\nthe quick reader got %+v\nJSON got %+v (%v)", payload, got, want, err)
		}
	})
	if quick == 0 {
		t.Error("the quick reader took none of the payloads")
	}
	usual := Ticket{Subject: "018f4a52-0000-7000-8000-000000000001", Service: "github", Purpose: PurposeAgentCredential, IssuedAt: 1, ExpiresAt: 16, Nonce: "00ff", AgentID: "a"}
	if got, ok := parseCanonical(usual.appendJSON(nil)); !ok || got != usual {
		t.Errorf("a usual ticket: got %+v, %v; want %+v", got, ok, usual)
	}
}
