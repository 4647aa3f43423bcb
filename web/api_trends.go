package web

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"sealpost/account"
	"sealpost/audit"
	"sealpost/fault"
)

// maxWindow is how far back numbers go, and maxBuckets how many spans they are told in: a day by the minute.
const (
	maxWindow  = 7 * 24 * 60 // minutes
	maxBuckets = 1440
)

func (s *Server) trendRoute() {
	route(s, only(audit.Admin, audit.Auditor).scoped(account.PostureRead), huma.Operation{
		Method: http.MethodGet, Path: "/api/admin/observability/trends", Tags: []string{"observability"},
		Summary: "What has happened within a window, over time",
		Description: "The buckets are whole multiples of bucketMinutes since 1970, UTC: the first begins at or before the " +
			"window does, the last is the one that is running. At most 1,440 fit into a window.",
	}, s.trends)
}

type trendsInput struct {
	Caller
	WindowMinutes int `query:"windowMinutes" minimum:"1" maximum:"10080" default:"60" doc:"How far back to count: at most a week"`
	BucketMinutes int `query:"bucketMinutes" minimum:"1" maximum:"1440" doc:"How long a bucket is; without it, such that there are at most 120"`
}

type trendsOutput struct {
	Body Trends
}

// Trends is how the pilot has gone.
type Trends struct {
	WindowMinutes int           `json:"windowMinutes"`
	BucketMinutes int           `json:"bucketMinutes"`
	From          time.Time     `json:"from" doc:"When the first bucket begins"`
	To            time.Time     `json:"to"`
	Buckets       []TrendBucket `json:"buckets" doc:"The oldest first, without a gap"`
	AtLeast       []string      `json:"atLeast" doc:"dispatch, auth or ai where the newest bucket may lack some: what is younger than 15 s is counted up to a limit"`
}

// TrendBucket is what happened within a span of time.
type TrendBucket struct {
	From     time.Time     `json:"from"`
	Dispatch DispatchTrend `json:"dispatch"`
	Auth     AuthTrend     `json:"auth"`
	AI       AITrend       `json:"ai"`
}

// DispatchTrend is about jobs.
type DispatchTrend struct {
	Accepted            int            `json:"accepted"`
	Dispatched          int            `json:"dispatched"`
	RetriedAttempts     int            `json:"retriedAttempts" doc:"Attempts that failed and are made again"`
	InterruptedAttempts int            `json:"interruptedAttempts" doc:"Attempts whose server ended; they cost no budget"`
	Replayed            int            `json:"replayed"`
	DeadLettered        int            `json:"deadLettered"`
	DeadLetterReasons   map[string]int `json:"deadLetterReasons" doc:"Of deadLettered: EXHAUSTED, PERMANENT, BLOCKED, EXPIRED, OPERATOR"`
	AlertsRaised        int            `json:"alertsRaised" doc:"Alerts of all kinds"`
}

// AuthTrend is about sign-ins.
type AuthTrend struct {
	SignIns             int `json:"signIns"`
	FailedSignIns       int `json:"failedSignIns"`
	Refreshes           int `json:"refreshes"`
	ReusedRefreshTokens int `json:"reusedRefreshTokens"`
	Refused             int `json:"refused" doc:"Everything that was not allowed, on whatever route"`
}

// AITrend is about calls to the model.
type AITrend struct {
	Calls              int `json:"calls"`
	FailedCalls        int `json:"failedCalls"`
	DroppedSuggestions int `json:"droppedSuggestions"`
}

// bucketSizes are what a bucket is made of where nobody says: the first that gives at most 120 of them.
var bucketSizes = []int{1, 5, 15, 60, 180}

func defaultBucket(window int) int {
	for _, size := range bucketSizes {
		if window <= 120*size {
			return size
		}
	}
	return bucketSizes[len(bucketSizes)-1]
}

// bucketsOf decides the buckets of a window that ends now; bucket 0: as the default has it. fault.Invalid.
func bucketsOf(window, bucket int, now time.Time) (audit.Buckets, error) {
	if bucket == 0 {
		bucket = defaultBucket(window)
	}
	if bucket > window {
		return audit.Buckets{}, fault.New(fault.Invalid, "bucketMinutes is at most windowMinutes, which is %d", window)
	}
	if (window+bucket-1)/bucket > maxBuckets {
		return audit.Buckets{}, fault.New(fault.Invalid, "a window has at most %d buckets: for windowMinutes=%d bucketMinutes is at least %d",
			maxBuckets, window, (window+maxBuckets-1)/maxBuckets)
	}
	each := time.Duration(bucket) * time.Minute
	from := now.Add(-time.Duration(window) * time.Minute).UTC().Truncate(each)
	return audit.Buckets{From: from, Each: each, N: int(now.Sub(from)/each) + 1}, nil
}

// trends handles GET /api/admin/observability/trends.
func (s *Server) trends(ctx context.Context, in *trendsInput) (*trendsOutput, error) {
	out, err := s.readTrends(ctx, in.WindowMinutes, in.BucketMinutes)
	if err != nil {
		return nil, err
	}
	return &trendsOutput{Body: *out}, nil
}

func (s *Server) readTrends(ctx context.Context, window, bucket int) (*Trends, error) {
	now := time.Now().UTC()
	b, err := bucketsOf(window, bucket, now)
	if err != nil {
		return nil, err
	}
	dispatched, moreJobs, err := s.Dispatch.Trend(ctx, b)
	if err != nil {
		return nil, err
	}
	came, moreAuth, err := s.Accounts.Trend(ctx, b)
	if err != nil {
		return nil, err
	}
	asked, moreAI, err := s.Documents.AITrend(ctx, b)
	if err != nil {
		return nil, err
	}
	out := &Trends{
		WindowMinutes: window, BucketMinutes: int(b.Each / time.Minute), From: b.From, To: now,
		Buckets: make([]TrendBucket, b.N), AtLeast: []string{},
	}
	for i := range out.Buckets {
		d, a, ai := dispatched[i], came[i], asked[i]
		t := TrendBucket{
			From: b.Start(i),
			Dispatch: DispatchTrend{
				Accepted: d.Accepted, Dispatched: d.Dispatched, RetriedAttempts: d.Retried, InterruptedAttempts: d.Interrupted,
				Replayed: d.Replayed, DeadLettered: d.DeadLettered, DeadLetterReasons: map[string]int{}, AlertsRaised: d.AlertsRaised,
			},
			Auth: AuthTrend{
				SignIns: a.SignIns, FailedSignIns: a.FailedSignIns, Refreshes: a.Refreshes,
				ReusedRefreshTokens: a.ReusedTokens, Refused: a.Refused,
			},
			AI: AITrend{Calls: ai.Calls.N, FailedCalls: ai.Failed, DroppedSuggestions: ai.Dropped},
		}
		for reason, n := range d.ByReason {
			t.Dispatch.DeadLetterReasons[string(reason)] = n
		}
		out.Buckets[i] = t
	}
	for _, part := range []struct {
		name string
		more bool
	}{{"dispatch", moreJobs}, {"auth", moreAuth}, {"ai", moreAI}} {
		if part.more {
			out.AtLeast = append(out.AtLeast, part.name)
		}
	}
	return out, nil
}
