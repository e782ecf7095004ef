package cmdqueue

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// tell prints a story: how it stands, how the message came in, what happened to it, and what is still to be done.
func (s *story) tell(p printed) {
	fmt.Fprintf(p.w, "%s  %s\n", p.st.plain(bold, printable(s.id)), printable(s.state()))
	for _, f := range s.about {
		p.line("about", f.ID+"  "+string(f.What)+"  "+whom(f, 3))
	}
	if f := s.accepted(); f != nil {
		by := ""
		if f.Server != "" {
			by = " by " + f.Server
		}
		p.line("accepted", stamp(f.Time)+" ("+age(time.Since(f.Time))+" ago)"+by)
		sub := submissionOf(f)
		p.submission(f.User, f.Sender, &sub)
		p.line("policies", strings.Join(sub.Policies, "; "))
	} else if len(s.facts) > 0 {
		p.line("accepted", "before the journal begins")
	}
	if s.entry == nil {
		s.ends(p)
	} else {
		p.waiting(s.entry)
	}
	if len(s.facts) > 0 {
		fmt.Fprintln(p.w)
	}
	for _, f := range s.facts {
		p.fact(f)
	}
	for _, n := range s.notifications {
		n.tellNotification(p)
	}
	if s.untold > 0 {
		fmt.Fprintf(p.w, "\n%d further notifications: see \"caddy msa trace <id>\" of each\n", s.untold)
	}
}

// maxLines is how many recipients of one fate have a line each.
const maxLines = 10

// ends prints what became of the recipients.
func (s *story) ends(p printed) {
	order, of := s.fates()
	alike := make(map[journal.Kind][]string)
	for _, r := range order {
		alike[of[r]] = append(alike[of[r]], r)
	}
	for _, k := range append([]journal.Kind{""}, journal.Kinds...) {
		word := string(k)
		if k == "" {
			word = "no end is known"
		}
		for i, r := range alike[k] {
			if i == maxLines && len(alike[k]) > maxLines+1 {
				p.line("recipients", fmt.Sprintf("%d more  %s", len(alike[k])-i, word))
				break
			}
			p.line("recipient", r+"  "+word)
		}
	}
}

// fact prints what happened, and in lines below what there is to say of it.
func (p printed) fact(f *journal.Fact) {
	v, s := visitOf(f), submissionOf(f)
	head := string(f.What)
	if v.Copy != "" {
		head = "copy " + v.Copy + " " + head
	}
	to := ""
	if v.Copy == "" && max(f.Count, len(f.Recipients)) > 0 {
		to = whom(f, 3)
	}
	fmt.Fprintf(p.w, "%s %s\n", p.st.plain(dim, stamp(f.Time)), strings.TrimSpace(p.st.coloured(f.What, printable(head))+"  "+printable(to)))
	more := func(texts ...string) {
		if text := strings.Join(words(texts...), ", "); text != "" {
			fmt.Fprintf(p.w, "    %s\n", printable(text))
		}
	}
	attempt := ""
	if v.Attempt > 0 {
		attempt = fmt.Sprintf("attempt %d", v.Attempt)
	}
	if f.Visit != nil {
		tls := v.TLS
		if tls == "" && v.Address != "" {
			tls = "in clear"
		}
		more(attempt, after("lane", v.Lane), routeOf(&v), hopOf(&v), tls, lasted(v.Duration))
	}
	switch f.What {
	case journal.Accepted:
		if s.Bounce {
			more("a notification", size(s.Size))
		}
	case journal.Rerouted, journal.Moved:
		more("to " + f.Text)
	default:
		more(f.Text)
	}
	more(v.Answer)
	more(after("queued there as", hopID(&v)))
	more(after("notification", f.Notification))
	more(after("policy", f.Policy))
	more(after("by", f.By))
	more(nextAt(v.Next))
}

// hopOf is the next hop's name, and its address where that says more.
func hopOf(v *journal.Visit) string {
	if strings.HasPrefix(v.Address, v.Host) {
		return v.Address
	}
	return strings.Join(words(v.Host, v.Address), " ")
}

// routeOf is the route, where the lane's name does not begin with it.
func routeOf(v *journal.Visit) string {
	if v.Route == "" || v.Lane == v.Route || strings.HasPrefix(v.Lane, v.Route+"/") {
		return ""
	}
	return "route " + v.Route
}

// tellNotification prints what became of a notification, indented.
func (s *story) tellNotification(p printed) {
	var b bytes.Buffer
	inner := printed{&b, p.st}
	fmt.Fprintf(&b, "notification %s  %s\n", printable(s.id), printable(s.state()))
	for _, f := range s.facts {
		inner.fact(f)
	}
	if s.entry != nil {
		inner.waiting(s.entry)
	}
	fmt.Fprintln(p.w)
	for line := range strings.Lines(b.String()) {
		fmt.Fprint(p.w, "  ", line)
	}
}
