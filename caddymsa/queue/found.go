package queue

// reached is what a visit found out about the lane.
type reached struct {
	success     bool
	unreachable error // evidence that it is down
	suspect     error // evidence if two users meet it
	user        string
	answer      string
	interrupted bool // it found out nothing
}

// found is what a delivery for a user found out about its lane, given what Deliver returned and whether it was ended from
// outside.
func (d *Delivery) found(user string, returned error, cut bool) (f reached) {
	f.user = user
	if IsUnreachable(returned) {
		f.unreachable = returned
	}
	for _, r := range d.Recipients {
		said, _ := d.Reported(r)
		err := d.Outcome(r, returned)
		switch outcome := OutcomeOf(err); {
		case outcome == OutcomeDelivered:
			f.success, f.answer = true, d.AnswerOf(r).Reply
		case outcome == OutcomeDeferred && cut: // what it says is how it was ended
			f.interrupted = true
			continue
		case outcome == OutcomeDeferred && !said && f.unreachable == nil:
			f.suspect = err
		}
		if err != nil && f.answer == "" {
			f.answer = causeText(err)
		}
	}
	if f.success {
		f.unreachable, f.suspect, f.interrupted = nil, nil, false
	}
	return f
}
