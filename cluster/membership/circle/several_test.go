//go:build !fleet

package circle_test

// severalBrokers says whether the tests with the tag fleet run.
const severalBrokers = false
