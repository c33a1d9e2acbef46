package platform

import "context"

// ExpireEscrows ends the offers whose time is over, as Run does now and then.
func (s *Service) ExpireEscrows(ctx context.Context) error { return s.expireEscrows(ctx) }
