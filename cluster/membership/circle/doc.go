// Package circle lets brokers find and agree with each other where there is no Consul.
//
// A Finder names addresses where brokers may be. Each broker listens on its discovery
// port, mutual TLS with the fleet's certificates, and says hello to all of them a few
// times a second. One leads: it keeps the registry (package membership) in its memory,
// and the others ask it. If it dies the most senior of those that are left leads, in a
// higher term, and begins with the newest view that any of them knows. Config.Health lets a
// broker that can hardly work leave it to others.
//
// That is less than a registry that can check and set for all: when the network parts
// the brokers, two may lead. Where the finder knows all brokers, three or more, only a
// side with the majority of them acts (quorum.go); else each side goes on, and when they
// meet again the leader with more followers stays, and the brokers of the other side
// find themselves removed and join again.
package circle
