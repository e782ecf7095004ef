//go:build postgres

package queue_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/installed"
	"github.com/caddy-msa/caddy-msa/caddymsa/msatest/postgres"
	"github.com/caddy-msa/caddy-msa/caddymsa/queue"
	"github.com/caddy-msa/caddy-msa/modules/spoolpostgres"
)

// TestOnPostgres runs the queue's tests on PostgreSQL instead of a spool in memory. It is built with the tag postgres only, since it brings with it what
// this package is built and tested without; TestQueuesOwnTests of modules/spoolpostgres runs it.
func TestOnPostgres(t *testing.T) {
	srv := postgres.Shared(t)
	var schemas atomic.Int32
	before := newSpool
	defer func() { newSpool = before }()
	every := installed.Rounds(1, 12) // elsewhere one of twelve of them
	part, _ := strconv.Atoi(os.Getenv("MSA_TEST_PART"))
	for i, c := range onPostgres {
		if (i+part+9)%every != 0 { // a quick part comes first
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			var schema string
			o := newOutside(func() (queue.OpenSpool, error) {
				return spoolpostgres.Open(context.Background(), spoolpostgres.Options{DSN: srv.DSN(), Schema: schema, Node: "one", Timeout: 2 * time.Minute})
			})
			newSpool = func(*testing.T) testSpool { // in a bubble
				schema = fmt.Sprint("q", schemas.Add(1))
				o.notify, o.fault, o.lost = make(chan struct{}, 1), nil, nil
				o.Reopen()
				return o
			}
			began := time.Now()
			c.test(t)
			o.end()
			t.Logf("%v", time.Since(began).Round(time.Millisecond))
		})
	}
}

// onSpool is a test of the queue on a spool.
type onSpool struct {
	name string
	test func(*testing.T)
}

// onPostgres are the tests of one queue on one spool. What is not among them: tests of several nodes, which are made to lose touch (TestQueue and TestShared of
// modules/spoolpostgres are about those); those that need hundreds or thousands of messages and lanes, or many crashes, which take a minute each and passed when they were
// run by hand (Concurrency, OneBounceThroughCrashes, which takes four, InTimeWhateverTheLane, ReloadWithoutLane); some others have fewer of them here. NextProbeIsAnother, in which all is due at the same nanosecond since the
// bubble's clock stands still; and those that are about a spool that panics, has no notifier or is moved from (testMoved of msatest).
var onPostgres = []onSpool{
	{"PartlyDown", TestPartlyDown},
	{"WarnedInTime", TestWarnedInTime},
	{"ProbeNow", TestProbeNow},
	{"FactsOfAttempts", TestFactsOfAttempts},
	{"FactsOfTheEnd", TestFactsOfTheEnd},
	{"FactsOfOperators", TestFactsOfOperators},
	{"FactsOfDeadLetters", TestFactsOfDeadLetters},
	{"FactsOfHolds", TestFactsOfHolds},
	{"FactsAreLinear", TestFactsAreLinear},
	{"NoFacts", TestNoFacts},
	{"RecipientsFareDifferently", TestRecipientsFareDifferently},
	{"OneBounceForAllSinks", TestOneBounceForAllSinks},
	{"Expire", TestExpire},
	{"ExpiredIsTriedFirst", TestExpiredIsTriedFirst},
	{"ReturnFull", TestReturnFull},
	{"NoRoute", TestNoRoute},
	{"Panics", TestPanics},
	{"TypedNil", TestTypedNil},
	{"CrashBeforeBounce", TestCrashBeforeBounce},
	{"BounceCannotBeStored", TestBounceCannotBeStored},
	{"BounceOfUnreadableMessage", TestBounceOfUnreadableMessage},
	{"SinksThatCannotBeCompared", TestSinksThatCannotBeCompared},
	{"HostileReply", TestHostileReply},
	{"RepliesWithNumbers", TestRepliesWithNumbers},
	{"ReloadInterrupts", TestReloadInterrupts},
	{"ReloadGrace", TestReloadGrace},
	{"PausedUntilExpiry", TestPausedUntilExpiry},
	{"Visit", TestVisit},
	{"DeleteInFlight", TestDeleteInFlight},
	{"DeadlinePutOff", TestDeadlinePutOff},
	{"DelayCannotBeStored", TestDelayCannotBeStored},
	{"Delivered", TestDelivered},
	{"Retries", TestRetries},
	{"NobodyInCharge", TestNobodyInCharge},
	{"ReloadAstrideAttempt", TestReloadAstrideAttempt},
	{"InterruptedHalfWay", TestInterruptedHalfWay},
	{"SlowSinkBlocksNobody", TestSlowSinkBlocksNobody},
	{"StopLeavesSinkThatDoesNotEnd", TestStopLeavesSinkThatDoesNotEnd},
	{"StopWithoutStart", TestStopWithoutStart},
	{"SpoolInTrouble", TestSpoolInTrouble},
	{"RecordFails", TestRecordFails},
	{"RoutesThatShareALane", TestRoutesThatShareALane},
	{"SetAsideBound", TestSetAsideBound},
	{"SilentLanesSetAside", TestSilentLanesSetAside},
	{"ManySlowLanes", func(t *testing.T) { manySlowLanes(t, 5) }},
	{"OneBounceForManyLanes", func(t *testing.T) { oneBounce(t, 60, 20) }},
	{"DestinationDown", TestDestinationDown},
	{"History", TestHistory},
	{"SmallerNotification", TestSmallerNotification},
	{"Copy", TestCopy},
	{"CopyFails", func(t *testing.T) { copyFails(t, 3) }},
	{"CopySlow", func(t *testing.T) { copySlow(t, 100) }},
	{"CopyOfBounced", TestCopyOfBounced},
	{"CopyOfGivenUp", TestCopyOfGivenUp},
	{"CopyDeadLetter", TestCopyDeadLetter},
	{"CopyReload", TestCopyReload},
	{"CopySwept", TestCopySwept},
	{"CopyCrash", TestCopyCrash},
	{"CopyOfOwnNotification", TestCopyOfOwnNotification},
	{"Isolation", TestIsolation},
	{"AcceptedInTheFuture", TestAcceptedInTheFuture},
	{"BounceWithoutRouteIsHeld", TestBounceWithoutRouteIsHeld},
	{"Success", TestSuccess},
	{"WhoIsTold", TestWhoIsTold},
	{"BounceIsNotBounced", TestBounceIsNotBounced},
	{"LaneShare", TestLaneShare},
	{"DeadLetters", TestDeadLetters},
	{"Delay", TestDelay},
	{"DelayOver", TestDelayOver},
	{"ExpiresOnHold", TestExpiresOnHold},
	{"SweepShortens", TestSweepShortens},
	{"OwnWords", TestOwnWords},
	{"Workers", TestWorkers},
	{"RouteSchedule", TestRouteSchedule},
	{"Evidence", TestEvidence},
	{"ExpiresWhileDown", TestExpiresWhileDown},
	{"RepliesWithAddresses", TestRepliesWithAddresses},
	{"Leftovers", TestLeftovers},
	{"Rate", TestRate},
	{"Stop", TestStop},
}
