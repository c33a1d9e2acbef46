package fault_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tvzero/tokenvault/server/internal/fault"
)

var errCause = errors.New("row 7 of host db-1 is locked")

func TestTheMessageIsForTheUserAndTheCauseForTheLog(t *testing.T) {
	t.Parallel()
	e := fault.Wrap(errCause, fault.Unavailable, "Try again in %d s.", 5)
	if e.Message != "Try again in 5 s." || strings.Contains(e.Message, "row 7") {
		t.Errorf("the message is %q", e.Message)
	}
	if got, want := e.Error(), "UNAVAILABLE: Try again in 5 s. (row 7 of host db-1 is locked)"; got != want {
		t.Errorf("for the log: %q, want %q", got, want)
	}
	if !errors.Is(e, errCause) {
		t.Error("the cause is not found")
	}
	if got, want := fault.New(fault.Conflict, "Taken.").Error(), "CONFLICT: Taken."; got != want {
		t.Errorf("without a cause: %q, want %q", got, want)
	}
}

func TestAFieldIsNamed(t *testing.T) {
	t.Parallel()
	if e := fault.Field("limit", "At most %d.", 9); e.Code != fault.InvalidRequest || e.Field != "limit" || e.Message != "At most 9." {
		t.Errorf("got %+v", e)
	}
}

func TestWhatIsForeignIsInternalAndSaysNothing(t *testing.T) {
	t.Parallel()
	e := fault.From(fmt.Errorf("query: %w", errCause))
	if e.Code != fault.Internal || strings.Contains(e.Message, "row 7") || e.Field != "" {
		t.Errorf("got %s %q of %q", e.Code, e.Message, e.Field)
	}
	if !errors.Is(e, errCause) {
		t.Error("the cause is lost for the log")
	}
}

func TestAFaultIsFoundThroughWhatWrapsIt(t *testing.T) {
	t.Parallel()
	inner := fault.New(fault.NoGrant, "No grant.")
	for what, err := range map[string]error{
		"itself": inner, "wrapped": fmt.Errorf("release: %w", inner), "joined": errors.Join(errCause, inner),
	} {
		if got := fault.From(err); got != inner {
			t.Errorf("%s: From = %v, want %v", what, got, inner)
		}
		if got := fault.CodeOf(err); got != fault.NoGrant {
			t.Errorf("%s: CodeOf = %q, want NO_GRANT", what, got)
		}
	}
	if got := fault.From(nil); got != nil {
		t.Errorf("From(nil) = %v, want nil", got)
	}
	if got := fault.CodeOf(nil); got != "" {
		t.Errorf("CodeOf(nil) = %q, want none", got)
	}
	if got := fault.CodeOf(errCause); got != fault.Internal {
		t.Errorf("CodeOf of what is foreign = %q, want INTERNAL", got)
	}
}
