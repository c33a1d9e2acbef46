// Package migrations holds the database schema as SQL, forward and back, once
// for each dialect. The two lists have the same versions, and the same tables
// and columns under the same names.
//
// It knows nothing of who applies it: models/store does, with goose, whose
// annotations the files bear, and storetest for tests' databases. A released file is never edited; a change is a
// new file in both folders.
package migrations

import "embed"

//go:embed sqlite/*.sql postgres/*.sql
var files embed.FS

// Files holds the migrations in a folder for each dialect: "sqlite" and
// "postgres".
func Files() embed.FS { return files }
