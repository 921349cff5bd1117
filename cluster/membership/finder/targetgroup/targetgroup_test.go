package targetgroup_test

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"opensessionmanager/cluster/membership/finder/targetgroup"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const group = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/brokers/73e2d6bc24d8a067"

// cloud stands in for the two services and records what it is asked.
type cloud struct {
	mu        sync.Mutex
	targets   []string
	instances map[string]string // private address by ID
	fail      bool
	asked     []string
}

func (c *cloud) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = r.ParseForm()
	c.asked = append(c.asked, r.Form.Encode()+" "+r.Header.Get("Authorization"))
	if c.fail {
		http.Error(w, "<ErrorResponse><Error><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>", http.StatusForbidden)
		return
	}
	w.Header().Set("Content-Type", "text/xml")
	if r.Form.Get("Action") == "DescribeTargetHealth" {
		fmt.Fprint(w, `<DescribeTargetHealthResponse xmlns="http://elasticloadbalancing.amazonaws.com/doc/2015-12-01/"><DescribeTargetHealthResult><TargetHealthDescriptions>`)
		for i, id := range c.targets {
			fmt.Fprintf(w, `<member><HealthCheckPort>8443</HealthCheckPort><TargetHealth><State>%s</State></TargetHealth><Target><Port>8443</Port><Id>%s</Id></Target></member>`,
				[]string{"healthy", "unhealthy", "draining", "initial"}[i%4], id)
		}
		fmt.Fprint(w, `</TargetHealthDescriptions></DescribeTargetHealthResult></DescribeTargetHealthResponse>`)
		return
	}
	fmt.Fprint(w, `<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><reservationSet><item><instancesSet>`)
	for key, id := range r.Form {
		if strings.HasPrefix(key, "InstanceId.") {
			fmt.Fprintf(w, `<item><instanceId>%s</instanceId><privateIpAddress>%s</privateIpAddress></item>`, id[0], c.instances[id[0]])
		}
	}
	fmt.Fprint(w, `</instancesSet></item></reservationSet></DescribeInstancesResponse>`)
}

func (c *cloud) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
}

func start(t *testing.T, c *cloud, region ...string) *targetgroup.Group {
	t.Helper()
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	for k, v := range map[string]string{"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "hush", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
		"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null",
		"AWS_ENDPOINT_URL_ELASTIC_LOAD_BALANCING_V2": server.URL, "AWS_ENDPOINT_URL_EC2": server.URL} {
		t.Setenv(k, v)
	}
	g, err := targetgroup.Open(t.Context(), targetgroup.Config{ARN: group, Region: strings.Join(region, ""), Port: 47500, Poll: 20 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	require.NoError(t, err)
	t.Cleanup(g.Close)
	return g
}

func await(t *testing.T, g *targetgroup.Group, want ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		found, complete := g.Candidates()
		return complete && slices.Equal(found, want)
	}, 30*time.Second, 10*time.Millisecond)
}

// Targets in any state, by instance and by address; what is registered later or no more
// is followed, and while AWS refuses the last answer stands.
func TestGroup_FollowsItsTargets(t *testing.T) {
	c := &cloud{targets: []string{"i-1", "10.0.0.2", "i-3", "arn:aws:lambda:x"}, instances: map[string]string{"i-1": "10.0.0.1", "i-3": "10.0.0.3"}}
	g := start(t, c)
	<-g.Ready()
	await(t, g, "10.0.0.1:47500", "10.0.0.2:47500", "10.0.0.3:47500")
	c.set(func() { c.fail, c.asked = true, nil })
	require.Eventually(t, func() (asked bool) { c.set(func() { asked = len(c.asked) > 0 }); return asked }, 30*time.Second, 10*time.Millisecond)
	await(t, g, "10.0.0.1:47500", "10.0.0.2:47500", "10.0.0.3:47500")
	c.set(func() { c.fail, c.targets = false, []string{"10.0.0.2", "10.0.0.2"} })
	await(t, g, "10.0.0.2:47500")
	c.set(func() {
		require.Contains(t, c.asked[0], "TargetGroupArn=arn%3Aaws%3Aelasticloadbalancing%3Aeu-west-1%3A123456789012%3Atargetgroup%2Fbrokers%2F73e2d6bc24d8a067")
		require.Contains(t, c.asked[0], "/eu-west-1/elasticloadbalancing/aws4_request", "the region is the ARN's")
		require.NotContains(t, strings.Join(c.asked, ""), "hush")
	})
}

// An empty group is a mistake, or an answer from before the registration: nobody is sent away.
func TestGroup_IsNotReadyWhileItIsEmpty(t *testing.T) {
	c := &cloud{}
	g := start(t, c)
	require.Eventually(t, func() (asked bool) { c.set(func() { asked = len(c.asked) > 0 }); return asked }, 30*time.Second, 10*time.Millisecond)
	select {
	case <-g.Ready():
		t.Fatal("nothing is known")
	default:
	}
	c.set(func() { c.targets = []string{"10.0.0.2"} })
	<-g.Ready()
}

func TestOpen_RefusesWhatIsNoTargetGroup(t *testing.T) {
	t.Parallel()
	for _, arn := range []string{"", "brokers", "arn:aws:s3:::bucket", "arn:aws:elasticloadbalancing:eu-west-1:1:loadbalancer/app/x/y"} {
		_, err := targetgroup.Open(t.Context(), targetgroup.Config{ARN: arn})
		require.ErrorContains(t, err, "not the ARN of a target group")
	}
}

// C25: the region may be named, for a partition or an endpoint the ARN does not tell.
func TestGroup_AsksInTheRegionThatIsNamed(t *testing.T) {
	c := &cloud{targets: []string{"10.0.0.2"}}
	<-start(t, c, "us-east-2").Ready()
	c.set(func() { require.Contains(t, c.asked[0], "/us-east-2/elasticloadbalancing/aws4_request") })
}
