package messages

//go:generate sh generate.sh
//go:generate go test -count=1 -run ^TestWire_OnlyGrows$ . -update
