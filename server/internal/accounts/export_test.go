package accounts

// Limits, for tests.
const (
	MaxEmail       = maxEmail
	MinPassword    = minPassword
	MaxPassword    = maxPassword
	MaxDisplayName = maxDisplayName
	HashesInAll    = hashesInAll
)

// OnDerivation makes the service tell each argon2 derivation, with its cost,
// and, with quick, make it at next to none.
func (s *Service) OnDerivation(quick bool, told func(passes, memory uint32, threads uint8)) {
	argon := s.passwords.argon
	s.passwords.argon = func(password, salt []byte, passes, memory uint32, threads uint8, size uint32) []byte {
		told(passes, memory, threads)
		if quick {
			passes, memory = 1, 8
		}
		return argon(password, salt, passes, memory, threads, size)
	}
}

// What limits guessing.
const (
	MaxTries  = maxTries
	TryWindow = tryWindow
)
