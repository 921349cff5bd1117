package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	root   = "../.."
	module = "opensessionmanager"
)

// source is one Go file of the tree.
type source struct {
	pkg   string // folder below the root, with slashes
	file  string // base name
	lines int
	tree  *ast.File
	fset  *token.FileSet
}

func (s source) isTest() bool { return strings.HasSuffix(s.file, "_test.go") }

// ignored files are run by hand and belong to no package.
func (s source) ignored() bool {
	for _, group := range s.tree.Comments {
		if strings.HasPrefix(group.List[0].Text, "//go:build ignore") {
			return true
		}
	}
	return false
}

func (s source) imports() []string {
	var all []string
	for _, spec := range s.tree.Imports {
		all = append(all, strings.Trim(spec.Path.Value, `"`))
	}
	return all
}

// sources parses the whole tree.
func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	require.NoError(t, filepath.WalkDir(root, func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name := entry.Name(); entry.IsDir() && file != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "bin" || name == "run") {
			return fs.SkipDir
		}
		if entry.IsDir() || filepath.Ext(file) != ".go" {
			return nil
		}
		data, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		fset := token.NewFileSet()
		tree, err := parser.ParseFile(fset, file, data, parser.ParseComments)
		if err != nil {
			return err
		}
		folder, err := filepath.Rel(root, filepath.Dir(file))
		if err != nil {
			return err
		}
		all = append(all, source{filepath.ToSlash(folder), filepath.Base(file), strings.Count(string(data), "\n"), tree, fset})
		return nil
	}))
	require.NotEmpty(t, all)
	return all
}

// fits reports whether a package fits a pattern of the tables.
func fits(pattern, pkg string) bool {
	base, below := strings.CutSuffix(pattern, "...")
	base = strings.TrimSuffix(base, "/")
	return pkg == base || below && (base == "" || strings.HasPrefix(pkg, base+"/"))
}

func fitsAny(patterns []string, pkg string) bool {
	for _, pattern := range patterns {
		if fits(pattern, pkg) {
			return true
		}
	}
	return false
}

func TestTree_ImportsFollowTheTable(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.isTest() || s.ignored() {
			continue
		}
		allowed, ok := rule(s.pkg)
		if !ok {
			t.Errorf("package %s has no line in the table of rules_test.go", s.pkg)
			continue
		}
		for _, imported := range s.imports() {
			if own, ok := strings.CutPrefix(imported, module+"/"); ok && !fitsAny(allowed, own) {
				t.Errorf("%s/%s imports %s; %s may import only %q", s.pkg, s.file, own, s.pkg, allowed)
			}
		}
	}
}

func rule(pkg string) ([]string, bool) {
	for _, line := range who {
		if fits(line.pkg, pkg) {
			return line.imports, true
		}
	}
	return nil, false
}

func TestTree_LibrariesStayWhereTheyBelong(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.isTest() {
			continue
		}
		for _, imported := range s.imports() {
			for _, line := range only {
				if fits(line.library+"/...", imported) && !fitsAny(line.pkgs, s.pkg) {
					t.Errorf("%s/%s imports %s, which only %q may: %s", s.pkg, s.file, imported, line.pkgs, line.why)
				}
			}
		}
	}
}

func TestTree_PurePackagesArePure(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		if s.isTest() || !fitsAny(pure, s.pkg) {
			continue
		}
		for _, imported := range s.imports() {
			if fitsAny(impure, imported) {
				t.Errorf("%s/%s is pure and must not import %s", s.pkg, s.file, imported)
			}
		}
		for _, name := range []string{"Now", "Since", "Until", "After", "AfterFunc", "NewTimer", "NewTicker", "Tick"} {
			for _, at := range uses(s, "time", name) {
				t.Errorf("%s: a pure package is given the time; no time.%s", at, name)
			}
		}
		ast.Inspect(s.tree, func(n ast.Node) bool {
			if _, ok := n.(*ast.GoStmt); ok {
				t.Errorf("%s: a pure package starts no goroutine", s.fset.Position(n.Pos()))
			}
			return true
		})
	}
}

func TestTree_NobodySleeps(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		for _, at := range uses(s, "time", "Sleep") {
			t.Errorf("%s: wait for an event, not for time.Sleep", at)
		}
	}
}

// uses finds the places where a file says pkg.name.
func uses(s source, pkg, name string) []token.Position {
	var at []token.Position
	ast.Inspect(s.tree, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok && selector.Sel.Name == name {
			if id, ok := selector.X.(*ast.Ident); ok && id.Name == pkg {
				at = append(at, s.fset.Position(n.Pos()))
			}
		}
		return true
	})
	return at
}

func TestTree_EachPackageSaysWhyItExists(t *testing.T) {
	t.Parallel()
	documented := map[string]bool{}
	for _, s := range sources(t) {
		if s.ignored() || strings.HasSuffix(s.tree.Name.Name, "_test") {
			continue
		}
		text := s.tree.Doc.Text()
		documented[s.pkg] = documented[s.pkg] || strings.HasPrefix(text, "Package "+s.tree.Name.Name+" ") || strings.HasPrefix(text, "Command ")
	}
	for pkg, ok := range documented {
		if !ok {
			t.Errorf("package %s has no doc comment", pkg)
		}
	}
}

func TestTree_PackagesAreCalledWhatTheirPathEndsIn(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		name := strings.TrimSuffix(s.tree.Name.Name, "_test")
		if name != "main" && name != path.Base(s.pkg) {
			t.Errorf("%s/%s says package %s", s.pkg, s.file, name)
		}
	}
}

func TestTree_FilesCanBeReadInOneGo(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		most := longestFile
		if s.isTest() {
			most = longestTest
		}
		if s.lines > most && !ast.IsGenerated(s.tree) {
			t.Errorf("%s/%s has %d lines, more than %d: split it", s.pkg, s.file, s.lines, most)
		}
	}
}

func TestTree_NothingIsLeftForLater(t *testing.T) {
	t.Parallel()
	for _, s := range sources(t) {
		for _, group := range s.tree.Comments {
			for _, word := range []string{"TO" + "DO", "FIX" + "ME", "XX" + "X:"} {
				if strings.Contains(group.Text(), word) {
					t.Errorf("%s: a comment says %s", s.fset.Position(group.Pos()), word)
				}
			}
		}
	}
}

func TestFits(t *testing.T) {
	t.Parallel()
	require.True(t, fits("a", "a"))
	require.False(t, fits("a", "a/b"))
	require.True(t, fits("a/...", "a"))
	require.True(t, fits("a/...", "a/b/c"))
	require.False(t, fits("a/...", "ab"))
	require.True(t, fits("...", "a/b"))
}
