// Package history holds what clients of a fleet did and were answered, and what its
// hosts did, against what a fleet promises. It knows no broker: whoever drives one
// records, and asks for the findings when everything is over.
//
// Writes must be linearizable: each acknowledged one took effect at one moment between
// its call and its answer, an answer that was lost may stand for an effect at any later
// time or for none. Reads come from pictures that each broker keeps, which show a
// change at the latest when it is acknowledged: while a write is under way one broker
// may show it and another one not. The models say that with a second step of each
// write, its acknowledgement, after which only the new state may be read.
package history
