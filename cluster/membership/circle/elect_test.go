package circle

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestElect(t *testing.T) {
	t.Parallel()
	self := hello{ID: "m", Since: 50, Term: 3}
	leading := self
	leading.Leader, leading.Followers = "m", 2
	for name, c := range map[string]struct {
		self      hello
		alive     []hello
		unsettled bool
		gone      map[string]bool
		want      choice
	}{
		"alone it leads":                           {self: self, want: choice{"m", true, 4}},
		"not before it has looked around":          {self: self, unsettled: true},
		"it goes on leading":                       {self: leading, want: choice{"m", false, 3}},
		"it follows who leads":                     {self: self, alive: []hello{{ID: "z", Since: 90, Term: 2, Leader: "z", Followers: 1}}, want: choice{"z", false, 2}},
		"it follows while it looks around":         {self: self, unsettled: true, alive: []hello{{ID: "z", Term: 2, Leader: "z", Followers: 1}}, want: choice{"z", false, 2}},
		"the senior is to lead":                    {self: self, alive: []hello{{ID: "z", Since: 40}}},
		"of equals the lower ID is senior":         {self: self, alive: []hello{{ID: "a", Since: 50}}},
		"a senior that goes is not waited for":     {self: self, alive: []hello{{ID: "z", Since: 40, Leaving: true}}, want: choice{"m", true, 4}},
		"who still looks around is nobody's elder": {self: self, alive: []hello{{ID: "a"}}, want: choice{"m", true, 4}},
		"a juniors' term is exceeded":              {self: self, alive: []hello{{ID: "z", Since: 90, Term: 9}}, want: choice{"m", true, 10}},
		"others reach a leader: it waits":          {self: self, alive: []hello{{ID: "z", Since: 90, Term: 3, Leader: "l", Heard: true}}},
		"others lost the leader: it leads":         {self: self, alive: []hello{{ID: "z", Since: 90, Term: 3, Leader: "l"}}, want: choice{"m", true, 4}},
		"the leader is certainly dead":             {self: self, alive: []hello{{ID: "z", Since: 90, Term: 3, Leader: "l", Heard: true}}, gone: map[string]bool{"l": true}, want: choice{"m", true, 4}},
		"more followers win":                       {self: leading, alive: []hello{{ID: "z", Term: 1, Leader: "z", Followers: 3}}, want: choice{"z", false, 1}},
		"and go on in a higher term":               {self: leading, alive: []hello{{ID: "z", Term: 7, Leader: "z", Followers: 1}}, want: choice{"m", true, 8}},
		"a loser of a lower term changes nothing":  {self: leading, alive: []hello{{ID: "z", Term: 2, Leader: "z", Followers: 1}}, want: choice{"m", false, 3}},
		"one of a higher epoch is outbid":          {self: leading, alive: []hello{{ID: "z", Term: 2, Leader: "z", Followers: 1, Epoch: 5}}, want: choice{"m", true, 4}},
		"who may not act does not lead":            {self: unable(leading)},
		"but follows who may":                      {self: unable(leading), alive: []hello{{ID: "z", Term: 1, Leader: "z", Followers: 1}}, want: choice{"z", false, 1}},
		"a leader that may not act is none":        {self: self, alive: []hello{unable(hello{ID: "z", Since: 90, Term: 5, Leader: "z", Followers: 1})}, want: choice{"m", true, 6}},
		"nor is it waited for as the senior":       {self: self, alive: []hello{unable(hello{ID: "z", Since: 40})}, want: choice{"m", true, 4}},
		"a sick leader leaves it to others":        {self: sick(leading), alive: []hello{{ID: "z", Since: 90, Term: 3, Leader: "m", Heard: true}}},
		"but not to nobody":                        {self: sick(leading), alive: []hello{sick(hello{ID: "z", Since: 90}), unable(hello{ID: "y", Since: 9})}, want: choice{"m", false, 3}},
		"who is well is senior to the sick":        {self: self, alive: []hello{sick(hello{ID: "z", Since: 40})}, want: choice{"m", true, 4}},
		"the sick lead if all are":                 {self: sick(self), alive: []hello{sick(hello{ID: "z", Since: 90})}, want: choice{"m", true, 4}},
		"who leaves does not lead":                 {self: hello{ID: "m", Since: 1, Leaving: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.self.Unable = c.self.Unable || c.unsettled
			require.Equal(t, c.want, elect(c.self, c.alive, c.gone))
		})
	}
}

func unable(h hello) hello { h.Unable = true; return h }
func sick(h hello) hello   { h.Sick = true; return h }

// Brokers that all reach each other never claim to lead at the same time, except where
// the winner of several leaders takes a new term; and somebody always leads or will.
func TestElect_BrokersThatSeeTheSameAgree(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "n")
		all := make([]hello, n)
		for i := range all {
			all[i] = hello{ID: string(rune('a' + i)), Since: rapid.Int64Range(1, 3).Draw(t, "since"), Term: rapid.Uint64Range(0, 3).Draw(t, "term")}
			if rapid.Bool().Draw(t, "leads") {
				all[i].Leader, all[i].Followers = all[i].ID, rapid.IntRange(1, 3).Draw(t, "followers")
			} else {
				all[i].Sick = rapid.Bool().Draw(t, "sick")
				all[i].Unable = i > 0 && rapid.Bool().Draw(t, "unable")
			}
		}
		leaders := map[string]bool{}
		for i := range all {
			others := append(append([]hello{}, all[:i]...), all[i+1:]...)
			if c := elect(all[i], others, nil); c.leader != "" {
				leaders[c.leader] = true
			}
		}
		require.Len(t, leaders, 1)
	})
}

func TestQuorum(t *testing.T) {
	t.Parallel()
	const alive, down, silent = 'a', 'd', 's'
	for states, want := range map[string]bool{
		"":       true,
		"a":      true,
		"as":     true, // two have no majority worth the name: both go on
		"sa":     true,
		"aas":    true,
		"ass":    false,
		"add":    true, // nobody goes on behind an address where nobody listens
		"ads":    true, // half of those that may exist, with the lowest address
		"sda":    false,
		"aass":   true,
		"ssaa":   false,
		"aaass":  true,
		"aasss":  false,
		"dddaas": true,
	} {
		var seats []seat
		for i, s := range states {
			seats = append(seats, seat{address: string(rune('a'+i)) + ":1", alive: s == alive, down: s == down, trouble: "timeout"})
		}
		err := quorum(seats)
		require.Equal(t, want, err == nil, "%s: %v", states, err)
		if err != nil {
			require.ErrorIs(t, err, ErrMinority)
			require.ErrorContains(t, err, "timeout")
		}
	}
}

// Of any two sides of a parted network at most one acts, whatever each knows to be down.
func TestQuorum_TwoSidesNeverBothAct(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(3, 9).Draw(t, "n")
		var one, other []seat
		for i := range n {
			address := string(rune('a'+i)) + ":1"
			mine := rapid.Bool().Draw(t, "mine")
			one = append(one, seat{address: address, alive: mine})
			other = append(other, seat{address: address, alive: !mine})
		}
		require.False(t, quorum(one) == nil && quorum(other) == nil)
	})
}

func FuzzDecodeHello(f *testing.F) {
	f.Add([]byte(`{"id":"a","address":"a:1","since":1,"term":2,"leader":"a","followers":1,"peers":["b:2"]}`))
	f.Add([]byte(`{"id":"a","address":"[::1]:1"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if h, err := decodeHello(data); err == nil {
			require.NoError(t, h.check())
			elect(hello{ID: "m", Since: 1}, []hello{h}, nil)
		}
	})
}

func TestDecodeHello_RefusesWhatIsNone(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		``, `null`, `[]`, `{}`, `{"id":"a"}`, `{"id":"a b","address":"a:1"}`, `{"id":"a","address":"a"}`, `{"id":"a","address":"a:0"}`,
		`{"id":"a","address":"a:1","term":4294967296}`, `{"id":"a","address":"a:1","followers":-1}`, `{"id":"a","address":"a:1","epoch":1152921504606846977}`, `{"id":"a","address":"a:1","since":-1}`,
		`{"id":"a","address":"a:1","leader":"\n"}`, `{"id":"a","address":"a:1","peers":["b"]}`,
	} {
		_, err := decodeHello([]byte(text))
		require.Error(t, err, text)
	}
}
