package dashboard

// A flash is a word about what was just done, left for the next page. It is one
// of a closed set: what a cookie says is never shown as it is.
type flash string

const (
	flashAgentSaved      flash = "agent-saved"
	flashAgentSuspended  flash = "agent-suspended"
	flashAgentResumed    flash = "agent-resumed"
	flashAgentDeleted    flash = "agent-deleted"
	flashGranted         flash = "granted"
	flashRevoked         flash = "revoked"
	flashTokenSaved      flash = "token-saved"
	flashTokenDeleted    flash = "token-deleted"
	flashSynced          flash = "synced"
	flashBound           flash = "bound"
	flashUnbound         flash = "unbound"
	flashProfileSaved    flash = "profile-saved"
	flashPasswordChanged flash = "password-changed"
	flashOthersEnded     flash = "others-ended"
	flashPasskeyAdded    flash = "passkey-added"
	flashPasskeyDeleted  flash = "passkey-deleted"
	flashAccountDeleted  flash = "account-deleted"
	flashFactorOff       flash = "factor-off"
	flashUnlocked        flash = "unlocked"
	flashKeysMade        flash = "keys-made"
	flashSignedOut       flash = "signed-out"
	flashStored          flash = "stored"
	flashMetadataSaved   flash = "metadata-saved"
	flashDeleted         flash = "deleted"
	flashRestored        flash = "restored"
	flashRenamed         flash = "renamed"
	flashGrantRevoked    flash = "grant-revoked"
	flashShared          flash = "shared"
	flashAccepted        flash = "accepted"
	flashDeclined        flash = "declined"
	flashCancelled       flash = "cancelled"
	flashRefreshed       flash = "refreshed"
	flashStillValid      flash = "still-valid"
	flashUndelivered     flash = "undelivered"
	flashConnected       flash = "connected"
	flashConnectedLess   flash = "connected-less"
	flashConnectedOther  flash = "connected-other"

	flashConnectedOtherLess flash = "connected-other-less"
)

func (f flash) text() string {
	switch f {
	case flashAgentSaved:
		return "Saved."
	case flashAgentSuspended:
		return "The agent is suspended: its key is refused until you resume it."
	case flashAgentResumed:
		return "The agent may act again."
	case flashAgentDeleted:
		return "The agent is deleted; its key is refused from now on."
	case flashGranted:
		return "Granted."
	case flashRevoked:
		return "Revoked: the agent can no longer fetch that credential."
	case flashTokenSaved:
		return "Saved, here and at your webhook."
	case flashTokenDeleted:
		return "The token is deleted, here and at your webhook."
	case flashSynced:
		return "The list is what your webhook has now."
	case flashBound:
		return "Your webhook is bound. From here on it keeps what you store."
	case flashUnbound:
		return "The webhook is unbound. What it keeps is still there; this server has deleted the secret that both shared."
	case flashKeysMade:
		return "The vault has its new keys. What was revoked opens nothing of it any more."
	case flashProfileSaved:
		return "Saved."
	case flashPasswordChanged:
		return "The password is changed. Whoever is signed in stays signed in."
	case flashOthersEnded:
		return "All other sessions are signed out."
	case flashPasskeyAdded:
		return "The passkey is added: it signs you in from now on."
	case flashPasskeyDeleted:
		return "The passkey is deleted: it is refused from now on."
	case flashAccountDeleted:
		return "The account is deleted. Nothing of it signs in any more."
	case flashFactorOff:
		return "The second factor is off: your password alone signs in."
	case flashUnlocked:
		return "The vault is unlocked."
	case flashStored:
		return "Stored. It is sealed: this server cannot open it without a session, an API key or a granted agent's key of yours."
	case flashMetadataSaved:
		return "Saved."
	case flashDeleted:
		return "The token is deleted."
	case flashRestored:
		return "It can be used again, under its new name."
	case flashRenamed:
		return "Renamed."
	case flashGrantRevoked:
		return "Revoked: it is refused from now on."
	case flashShared:
		return "The vault is offered. Accept it there within 24 hours."
	case flashAccepted:
		return "The vaults are linked: this session opens the shared vault now."
	case flashDeclined:
		return "Declined. Your vault stays as it is."
	case flashCancelled:
		return "The offer is taken back."
	case flashRefreshed:
		return "Refreshed: there is a new access token."
	case flashStillValid:
		return "The access token is still good: it was not replaced."
	case flashUndelivered:
		return "Refreshed. Your webhook is away; the new tokens wait for it, sealed to its own key."
	case flashConnected:
		return "The account is connected."
	case flashConnectedLess:
		return "The account is connected. Not all that was asked for was allowed: see the scopes."
	case flashConnectedOther:
		return "The account is connected. It is another one than before."
	case flashConnectedOtherLess:
		return "The account is connected. It is another one than before, and not all that was asked for was allowed: see the scopes."
	case flashSignedOut:
		return "You are signed out."
	}
	return ""
}
