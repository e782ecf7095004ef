package spoolfile

// manyJobs is from how many jobs on an entry has an index of them.
const manyJobs = 16

// jobIndex is of an entry with many jobs, which would else be walked through with each of them.
type jobIndex struct {
	jobs         []*job // by number, from 1 on
	open, copies int    // of those that have not ended: all, and those of a copy
	special      *job
}

// index returns an entry's index, nil if it has few jobs. The schedule is locked.
func (s *schedule) index(e *entry) *jobIndex {
	if e.next <= manyJobs || e.is(entryGone) {
		return nil
	}
	x := s.many[e]
	if x == nil {
		x = new(jobIndex)
		for j := range e.jobs() {
			x.add(j)
		}
		x.special = e.special()
		if s.many == nil {
			s.many = make(map[*entry]*jobIndex)
		}
		s.many[e] = x
	}
	return x
}

func (x *jobIndex) add(j *job) {
	for len(x.jobs) <= int(j.number) {
		x.jobs = append(x.jobs, nil)
	}
	x.jobs[j.number] = j
	if !j.ended {
		x.count(j, 1)
	}
}

func (x *jobIndex) count(j *job, n int) {
	x.open += n
	if j.copied {
		x.copies += n
	}
}

// added has a job of an entry be found whose others may have an index.
func (s *schedule) added(j *job) {
	if x := s.many[j.e]; x != nil {
		x.add(j)
	}
}

// setEnded says whether a job has ended.
func (s *schedule) setEnded(j *job, ended bool) {
	if x := s.many[j.e]; x != nil && j.number != 0 && j.ended != ended {
		if ended {
			x.count(j, -1)
		} else {
			x.count(j, 1)
		}
	}
	j.ended = ended
}

// job returns an entry's job by its number.
func (s *schedule) job(e *entry, number int) *job {
	x := s.index(e)
	switch {
	case x == nil:
		return e.job(number)
	case number < len(x.jobs):
		return x.jobs[number]
	}
	return nil
}

// special is the job that follows from an entry's status, if there is one.
func (s *schedule) special(e *entry) *job {
	if x := s.index(e); x != nil {
		return x.special
	}
	return e.special()
}

// setSpecial puts that job in the place of the one that there is; nil for none.
func (s *schedule) setSpecial(e *entry, j *job) {
	if have := s.special(e); have != nil {
		e.cut(have)
	}
	if j != nil {
		e.first.link(j)
	}
	if x := s.many[e]; x != nil {
		x.special = j
	}
}

// open is how many of an entry's jobs have something left to do, and how many of those are of a copy.
func (s *schedule) open(e *entry) (open, copies int) {
	if x := s.index(e); x != nil {
		return x.open, x.copies
	}
	return e.open(), e.copies()
}
