package queue

// Report says what became of one recipient: nil for delivered. Recipients that
// are not reported share what Deliver returns.
func (d *Delivery) Report(r *Recipient, err error) {
	t := d.told.of(r)
	t.reported, t.err = true, err
}

// Relayed says that a delivered recipient's copy went on to another server, and whether that
// one has taken over the notifications that were asked for (RFC 3461 section 6.2). Without it
// the sink is where the message ends.
func (d *Delivery) Relayed(r *Recipient, notifies bool) {
	t := d.told.of(r)
	t.relayed, t.notifies = true, notifies
}

// Answered notes the next hop's answer about a recipient.
func (d *Delivery) Answered(r *Recipient, a Answer) { d.told.of(r).answer = a }

// WasRelayed tells what Relayed said of r, if it did.
func (d *Delivery) WasRelayed(r *Recipient) (notifies, relayed bool) {
	t := d.told.find(r)
	return t.notifies, t.relayed
}

// Reported tells what Report said of r, if it did.
func (d *Delivery) Reported(r *Recipient) (reported bool, err error) {
	t := d.told.find(r)
	return t.reported, t.err
}

// Outcome is what became of r, given what Deliver returned.
func (d *Delivery) Outcome(r *Recipient, deliverErr error) error {
	if reported, err := d.Reported(r); reported {
		return err
	}
	return deliverErr
}

// AnswerOf returns what Answered noted of r.
func (d *Delivery) AnswerOf(r *Recipient) Answer { return d.told.find(r).answer }

// report is what a sink said of a recipient.
type report struct {
	recipient         *Recipient
	err               error
	answer            Answer
	reported          bool
	relayed, notifies bool
}

// reports are those of a delivery. Most messages have one recipient or a few, for whom a list does.
type reports struct {
	all    []report
	places map[*Recipient]int // of many
}

const fewReports = 8

// place is where the report of r is, -1 if there is none yet.
func (rs *reports) place(r *Recipient) int {
	if rs.places != nil {
		if i, ok := rs.places[r]; ok {
			return i
		}
		return -1
	}
	for i := range rs.all {
		if rs.all[i].recipient == r {
			return i
		}
	}
	return -1
}

// of returns the report of r, to be written.
func (rs *reports) of(r *Recipient) *report {
	if i := rs.place(r); i >= 0 {
		return &rs.all[i]
	}
	rs.all = append(rs.all, report{recipient: r})
	switch n := len(rs.all); {
	case rs.places != nil:
		rs.places[r] = n - 1
	case n > fewReports:
		rs.places = make(map[*Recipient]int, 4*fewReports)
		for i := range rs.all {
			rs.places[rs.all[i].recipient] = i
		}
	}
	return &rs.all[len(rs.all)-1]
}

// find is what was said of r, nothing by default.
func (rs *reports) find(r *Recipient) report {
	if i := rs.place(r); i >= 0 {
		return rs.all[i]
	}
	return report{}
}
