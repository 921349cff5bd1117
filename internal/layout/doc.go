// Package layout holds the test that guards the tree: who may import whom, a doc
// comment per package, files of a size that can be read. The rules are the two tables
// of rules_test.go; a new package needs a line there.
package layout
