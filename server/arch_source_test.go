package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// module is the import path of the repository's root, which is one folder up.
const (
	module = "github.com/tvzero/tokenvault"
	root   = ".."
)

// A rule gives the paths that something at path may use, or may be used by.
type rule struct {
	path string
	may  []string
}

func list(paths ...string) []string { return paths }

func (r rule) String() string {
	if len(r.may) == 0 {
		return "nothing"
	}
	return strings.Join(r.may, ", ")
}

// allows reports whether path is in the rule's list or in a list that it names.
func (r rule) allows(path string) bool {
	for _, pattern := range r.may {
		if named, isList := lists[pattern]; isList && (rule{may: named}).allows(path) {
			return true
		}
		if matches(pattern, path) {
			return true
		}
	}
	return false
}

// matches compares a path with a pattern; "x/..." is x and all below it.
func matches(pattern, path string) bool {
	if pattern == "..." {
		return true
	}
	if above, all := strings.CutSuffix(pattern, "/..."); all {
		return path == above || strings.HasPrefix(path, above+"/")
	}
	return path == pattern
}

// find returns the rule for a package of ours.
func find(rules []rule, path string) (rule, bool) {
	for _, r := range rules {
		if matches(r.path, path) {
			return r, true
		}
	}
	return rule{}, false
}

// findPrefix returns the rule with the longest path that path is or is inside of.
func findPrefix(rules []rule, path string) (best rule, found bool) {
	for _, r := range rules {
		if matches(r.path+"/...", path) && len(r.path) >= len(best.path) {
			best, found = r, true
		}
	}
	return best, found
}

// inside reports whether a rule exists for a package inside the module at path.
func inside(rules []rule, path string) bool {
	return slices.ContainsFunc(rules, func(r rule) bool { return strings.HasPrefix(r.path, path+"/") })
}

// forTests reports whether path is, or stands below, a package called <name>test.
func forTests(path string) bool { return testedBy(path) != "" }

// testedBy returns what a package for tests is there to test: "a/b" for "a/b/btest", and "a" for "a/btest" where
// there is no b below a (webhook-sdk/webhooktest tests package webhook in webhook-sdk).
func testedBy(path string) string {
	elements := strings.Split(path, "/")
	for i, element := range elements {
		name, isTest := strings.CutSuffix(element, "test")
		if !isTest || name == "" {
			continue
		}
		parent := strings.Join(elements[:i], "/")
		if sibling := strings.TrimPrefix(parent+"/"+name, "/"); elements[max(i-1, 0)] != name {
			if _, known := find(imports, sibling); known {
				return sibling
			}
		}
		return parent
	}
	return ""
}

// A goPackage is a package of this module with product code in it.
type goPackage struct {
	path, name, doc string
	std             []string // imported packages of the standard library
	ours, foreign   []string // imported packages: of this module, relative to it; and of others
}

func (p goPackage) imports(path string) bool { return slices.Contains(p.std, path) }

// packages lists the product code of the module, for every file that is built on this system. Packages that do not
// parse are the compiler's to complain about.
func packages(t *testing.T) []goPackage {
	t.Helper()
	found, err := loadPackages()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) == 0 {
		t.Fatal("go list found no package: the test looks in the wrong folder")
	}
	return found
}

var loadPackages = sync.OnceValues(func() ([]goPackage, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(context.Background(), "go", "list", "-e", "-json=ImportPath,Name,Doc,GoFiles,Imports", "./...")
	cmd.Dir, cmd.Stderr = root, &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, errors.New("go list: " + err.Error() + ": " + stderr.String())
	}
	var found []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var listed struct {
			ImportPath, Name, Doc string
			GoFiles, Imports      []string
		}
		if err := d.Decode(&listed); errors.Is(err, io.EOF) {
			return found, nil
		} else if err != nil {
			return nil, err
		}
		if len(listed.GoFiles) > 0 {
			found = append(found, sortImports(listed.ImportPath, listed.Name, listed.Doc, listed.Imports))
		}
	}
})

func sortImports(path, name, doc string, imported []string) goPackage {
	p := goPackage{path: strings.TrimPrefix(path, module+"/"), name: name, doc: doc}
	for _, i := range imported {
		first, _, _ := strings.Cut(i, "/")
		switch relative, isOurs := strings.CutPrefix(i, module+"/"); {
		case isOurs:
			p.ours = append(p.ours, relative)
		case strings.Contains(first, "."):
			p.foreign = append(p.foreign, i)
		default:
			p.std = append(p.std, i)
		}
	}
	return p
}

// required lists the modules that go.mod requires directly.
func required(t *testing.T) []string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json")
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go mod edit: %v", err)
	}
	var file struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(out, &file); err != nil {
		t.Fatal(err)
	}
	var direct []string
	for _, r := range file.Require {
		if !r.Indirect {
			direct = append(direct, r.Path)
		}
	}
	if len(direct) == 0 {
		t.Fatal("go.mod requires nothing: the test looks in the wrong folder")
	}
	return direct
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A goFile is a parsed source file, product or test, on whatever system it is built.
type goFile struct {
	path string
	tree *ast.File
}

// goFiles parses every Go file of the repository; those that do not parse are the compiler's to complain about.
func goFiles(t *testing.T) []goFile {
	t.Helper()
	var files []goFile
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && path != root && (name == "testdata" || strings.HasPrefix(name, ".")) {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		if tree, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution); err == nil {
			files = append(files, goFile{path: strings.TrimPrefix(path, root+"/"), tree: tree})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("found %d Go files: the test looks in the wrong folder", len(files))
	}
	return files
}

func (f goFile) isTest() bool {
	return strings.HasSuffix(f.path, "_test.go") || forTests(filepath.ToSlash(filepath.Dir(f.path)))
}

func (f goFile) declaresInit() bool {
	for _, d := range f.tree.Decls {
		if fn, isFunc := d.(*ast.FuncDecl); isFunc && fn.Recv == nil && fn.Name.Name == "init" {
			return true
		}
	}
	return false
}

// localName returns the name under which the file imports a package.
func (f goFile) localName(path string) (name string, imported bool) {
	for _, i := range f.tree.Imports {
		if value, err := strconv.Unquote(i.Path.Value); err != nil || value != path {
			continue
		}
		if i.Name != nil {
			return i.Name.Name, true
		}
		return filepath.Base(path), true
	}
	return "", false
}

func (f goFile) imports(path string) bool {
	_, imported := f.localName(path)
	return imported
}

// calls reports whether the file mentions pkg.name, called or passed on.
func (f goFile) calls(pkg, name string) bool {
	local, imported := f.localName(pkg)
	if !imported {
		return false
	}
	found := false
	ast.Inspect(f.tree, func(n ast.Node) bool {
		if s, isSelector := n.(*ast.SelectorExpr); isSelector && s.Sel.Name == name {
			if x, isIdent := s.X.(*ast.Ident); isIdent && x.Name == local {
				found = true
			}
		}
		return !found
	})
	return found
}
