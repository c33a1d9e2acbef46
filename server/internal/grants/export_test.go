package grants

// MaxKeys is for tests.
const MaxKeys = maxKeys
