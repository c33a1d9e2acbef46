package models

import (
	"time"

	"github.com/google/uuid"
)

// A UsedConnect is a flow of connecting an account that has come back from its
// provider, and so is over, however it ended.
type UsedConnect struct {
	AccountID uuid.UUID `gorm:"primaryKey"`
	ID        uuid.UUID `gorm:"primaryKey"`
	ExpiresAt time.Time // from then on the flow is refused for its age, and the row can go
}
