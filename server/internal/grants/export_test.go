package grants

// MaxKeys is for tests.
const MaxKeys = maxKeys

// TokenOf is for tests that show a text as a principal's token.
func TokenOf(text string) Token { return newToken(text) }
