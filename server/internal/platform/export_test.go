package platform

import (
	"context"
	"sync"
)

// ExpireEscrows ends the offers whose time is over, as Run does now and then.
func (s *Service) ExpireEscrows(ctx context.Context) error { return s.expireEscrows(ctx) }

// WatchRooms returns all the room for opened secrets that is made from now on. No
// release has been made before.
func (s *Service) WatchRooms() func() [][]byte {
	var mu sync.Mutex
	var made [][]byte
	s.rooms.New = func() any {
		room := make([]byte, 0, roomForSecret)
		mu.Lock()
		defer mu.Unlock()
		made = append(made, room[:cap(room)])
		return &room
	}
	return func() [][]byte {
		mu.Lock()
		defer mu.Unlock()
		return made
	}
}
