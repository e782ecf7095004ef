package spoolfile

import "iter"

// all are the entry's jobs and the special one.
func (e *entry) all() iter.Seq[*job] {
	return func(yield func(*job) bool) {
		for j := &e.first; j != nil; j = j.sibling {
			if (j.number != 0 || j != &e.first) && !yield(j) {
				return
			}
		}
	}
}

// jobs are those that have a number.
func (e *entry) jobs() iter.Seq[*job] {
	return func(yield func(*job) bool) {
		for j := &e.first; j != nil; j = j.sibling {
			if j.number != 0 && !yield(j) {
				return
			}
		}
	}
}

// job returns a job by its number.
func (e *entry) job(number int) *job {
	for j := range e.jobs() {
		if int(j.number) == number {
			return j
		}
	}
	return nil
}

// special is the job that follows from the status, if there is one.
func (e *entry) special() *job {
	for j := e.first.sibling; j != nil; j = j.sibling {
		if j.number == 0 {
			return j
		}
	}
	return nil
}

// add makes a job of a number that is new.
func (e *entry) add(number int32) *job { return e.addBehind(&e.first, number) }

// addBehind is add where a job is known that is not far from the last.
func (e *entry) addBehind(last *job, number int32) *job {
	if e.first.number == 0 {
		e.first.e, e.first.number = e, number
		return &e.first
	}
	j := &job{e: e, number: number}
	last.link(j)
	return j
}

// link puts a job behind the last of those that follow on this one.
func (j *job) link(next *job) {
	for j.sibling != nil {
		j = j.sibling
	}
	j.sibling = next
}

// cut takes a job away from an entry, which is not the first.
func (e *entry) cut(j *job) {
	for at := &e.first; at != nil; at = at.sibling {
		if at.sibling == j {
			at.sibling, j.sibling = j.sibling, nil
			return
		}
	}
}
