package accounts

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"io"
	"strings"

	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/models"
)

const (
	recoveryCodes = 10 // of an account
	recoveryBytes = 10 // 80 random bits, 16 characters of Base32
	recoveryGroup = 4  // characters between two dashes
)

// makeRecoveryCodes puts new recovery codes in place of an account's, inside a
// transaction that is at hand.
func (s *Service) makeRecoveryCodes(ctx context.Context, accountID uuid.UUID) (Codes, error) {
	texts, rows := make([]string, recoveryCodes), make([]models.RecoveryCode, recoveryCodes)
	for i := range texts {
		random := make([]byte, recoveryBytes)
		if _, err := io.ReadFull(s.deps.Random, random); err != nil {
			return Codes{}, fmt.Errorf("accounts: no randomness: %w", err)
		}
		code := strings.ToLower(base32.StdEncoding.EncodeToString(random))
		rows[i] = models.RecoveryCode{AccountID: accountID, Hash: recoveryHash(accountID, code), CreatedAt: s.deps.Now()}
		for j := 0; j < len(code); j += recoveryGroup {
			texts[i] += "-" + code[j:j+recoveryGroup]
		}
		texts[i] = texts[i][1:]
	}
	if err := s.deps.Codes.ReplaceRecoveryCodes(ctx, accountID, rows); err != nil {
		return Codes{}, err
	}
	return newCodes(texts), nil
}

// recoveryCode is what was typed if it could be a recovery code, as it is hashed.
func recoveryCode(typed string) (string, bool) {
	code := strings.ToLower(strings.NewReplacer("-", "", " ", "").Replace(typed))
	raw, err := base32.StdEncoding.DecodeString(strings.ToUpper(code))
	return code, err == nil && len(raw) == recoveryBytes
}

// recoveryHash needs neither salt nor slowness: nobody guesses 80 random bits. It is
// bound to its account.
func recoveryHash(accountID uuid.UUID, code string) models.Opaque {
	sum := sha256.Sum256([]byte("tokenvault/recovery-code/v1" + accountID.String() + code))
	return sum[:]
}
