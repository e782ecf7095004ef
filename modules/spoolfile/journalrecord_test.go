package spoolfile

import (
	"reflect"
	"testing"
	"time"

	"github.com/caddy-msa/caddy-msa/caddymsa/journal"
)

// fillFact sets every field that JSON has to something, so that a field which the record forgets is noticed.
func fillFact(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fillFact(v.Elem(), n)
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Unix(1<<30, int64(*n)).UTC()))
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") != "-" {
				fillFact(v.Field(i), n)
			}
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 3, 3))
		for i := range 3 {
			fillFact(v.Index(i), n)
		}
	case reflect.String:
		v.SetString("text " + string(rune('a'+*n)))
	case reflect.Bool:
		v.SetBool(true)
	default:
		v.SetInt(int64(-*n))
	}
}

// A record says all that a fact says, whatever is empty in it.
func TestFactsRecord(t *testing.T) {
	var full journal.Fact
	n := 0
	fillFact(reflect.ValueOf(&full).Elem(), &n)
	for _, facts := range [][]journal.Fact{
		{full},
		{{}},
		{full, {}, {What: journal.Delivered, ID: "Q1", Visit: &journal.Visit{}}, {What: journal.Accepted, Submission: &journal.Submission{}}, full},
		{{Recipients: []string{"", "a@example.org"}, Text: "two\nlines \xff"}},
	} {
		got, err := decodeFacts(encodeFacts(facts, 0))
		if err != nil || !reflect.DeepEqual(got, facts) {
			t.Errorf("%+v became %+v, %v", facts, got, err)
		}
	}
}

// What a later version adds to facts is passed over.
func TestFactsOfLater(t *testing.T) {
	b := encodeFacts([]journal.Fact{{ID: "Q1"}, {ID: "Q2"}}, 0)
	c := factCoder{writing: true, out: make([]byte, factFixed)}
	for _, id := range []string{"Q1", "Q2"} {
		c.fact(&journal.Fact{ID: id})
		c.out = c.out[:len(c.out)-1]
		c.out = append(c.out, 0xbe, 0x87, 0x01, 0xfe, 3, 'n', 'e', 'w', factEnd)
	}
	later := sealFacts(c.out, 0)
	got, err := decodeFacts(later)
	want, _ := decodeFacts(b)
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

// FuzzFacts: whatever a record says, reading it ends, and what was read is written and read again as it is.
func FuzzFacts(f *testing.F) {
	var full journal.Fact
	n := 0
	fillFact(reflect.ValueOf(&full).Elem(), &n)
	f.Add(encodeFacts([]journal.Fact{full, {ID: "Q"}}, 3)[factFixed:])
	f.Add([]byte{factEnd})
	f.Add([]byte{0xc1, 200, 'x'})
	f.Fuzz(func(t *testing.T, b []byte) {
		record := sealFacts(append(make([]byte, factFixed), b...), 0)
		facts, err := decodeFacts(record)
		if err != nil {
			return
		}
		again, err := decodeFacts(encodeFacts(facts, 0))
		if err != nil || !reflect.DeepEqual(again, facts) {
			t.Errorf("%+v became %+v, %v", facts, again, err)
		}
	})
}

func BenchmarkFactsRecord(b *testing.B) {
	f := []journal.Fact{acceptedFact("3F2504E04F89", 1)}
	b.Run("write", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			b.SetBytes(int64(len(encodeFacts(f, 0))))
		}
	})
	record := encodeFacts(f, 0)
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_, _ = decodeFacts(record)
		}
	})
}
