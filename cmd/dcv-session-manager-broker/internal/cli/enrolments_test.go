package cli

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"opensessionmanager/http/admin/adminclient"
)

const enrolmentText = "dcvsm-enrol-1.AAAA_-"

func (f *fakeBroker) GenerateEnrolmentToken(_ context.Context, validFor time.Duration, uses int) (adminclient.EnrolmentToken, error) {
	f.enrolments = append(f.enrolments, adminclient.Enrolment{ID: "id-1", Created: time.Unix(1_800_000_000, 0),
		Expires: time.Unix(1_800_000_000, 0).Add(validFor), UsesLeft: uses, Active: true})
	return adminclient.EnrolmentToken{Text: enrolmentText, Enrolment: f.enrolments[0]}, f.err
}

func (f *fakeBroker) DescribeEnrolmentTokens(context.Context) ([]adminclient.Enrolment, error) {
	return f.enrolments, f.err
}

func (f *fakeBroker) RevokeEnrolmentToken(_ context.Context, _ string, withAgents bool) (int, error) {
	if withAgents {
		return 2, f.err
	}
	return 0, f.err
}

// N10: one line that scripts cut, and both spellings.
func TestEnrolmentTokens_FromGenerationToRevocation(t *testing.T) {
	t.Parallel()
	for _, word := range []string{"enrolment", "enrollment"} {
		b := &fakeBroker{}
		require.Equal(t, result{0, "enrolment-token: " + enrolmentText + "\n", ""}, run(t, b, "generate-"+word+"-token", "--valid-for", "90m", "--uses", "3"))
		require.Equal(t, result{0, "Enrolment Tokens\n[ {\n  \"id\" : \"id-1\",\n  \"created\" : \"2027-01-15T08:00:00Z\",\n" +
			"  \"expires\" : \"2027-01-15T09:30:00Z\",\n  \"uses-left\" : 3,\n  \"active\" : true\n} ]\n", ""}, run(t, b, "describe-"+word+"-tokens"))
		require.Equal(t, result{0, "Enrolment token id-1 revoked\n", ""}, run(t, b, "revoke-"+word+"-token", "--id", "id-1"))
		require.Equal(t, result{0, "Enrolment token id-1 revoked\n2 agent clients unregistered\n", ""}, run(t, b, "revoke-"+word+"-token", "--id", "id-1", "--with-agents"))
	}
}

func TestEnrolmentTokens_AsJSON(t *testing.T) {
	t.Parallel()
	b := &fakeBroker{}
	made := run(t, b, "generate-enrolment-token", "--output", "json")
	require.JSONEq(t, `{"enrolment-token":"dcvsm-enrol-1.AAAA_-","id":"id-1","expires":"2027-01-15T09:00:00Z","uses":1}`, made.out)
	list := run(t, b, "describe-enrolment-tokens", "--output", "json")
	require.JSONEq(t, `[{"id":"id-1","created":"2027-01-15T08:00:00Z","expires":"2027-01-15T09:00:00Z","uses-left":1,"active":true}]`, list.out)
	require.JSONEq(t, `[]`, run(t, &fakeBroker{}, "describe-enrolment-tokens", "--output", "json").out)
	revoked := run(t, b, "revoke-enrolment-token", "--id", "id-1", "--with-agents", "--output", "json")
	require.JSONEq(t, `{"id":"id-1","unregistered-agent-clients":2}`, revoked.out)
}

func TestEnrolmentTokens_MistakesAreUsageErrors(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"revoke-enrolment-token"},
		{"generate-enrolment-token", "--valid-for", "soon"},
		{"generate-enrolment-token", "--uses", "x"},
		{"describe-enrolment-tokens", "x"},
	} {
		require.Equal(t, 2, run(t, &fakeBroker{}, args...).code, "%v", args)
	}
}
