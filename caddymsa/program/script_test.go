package program

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the system would not run is an error that says why, before there is a message.
func TestScript(t *testing.T) {
	path := filepath.Join(t.TempDir(), "take")
	for text, want := range map[string]string{
		"#!/bin/sh\nexit 0\n":                           "",
		"#! /bin/sh -e\nexit 0\n":                       "",
		"#!/bin/sh":                                     "",
		"\x7fELF\x02\x01\x01\x00":                       "",
		"#!/bin/sh\r\nexit 0\r\n":                       "CR LF",
		"#!/usr/bin/env python3\r\npass":                "CR LF",
		"\ufeff#!/bin/sh\nexit 0\n":                     "byte order mark",
		"#!/nonexistent/bin/python\npass\n":             "no such file",
		"#!\nexit 0\n":                                  "names no interpreter",
		"exit 0\n":                                      "does not begin with the line of a script",
		"# m\u00e4il\n" + strings.Repeat("\u00e4", 300): "does not begin with the line of a script",
		"": "it is empty",
	} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
		_, err := (&Config{Command: []string{path}}).Open()
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v, want %q", text, err, want)
		}
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\nexit 0\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	p, err := (&Config{Command: []string{path}}).Open()
	if err != nil || p.Check() != nil {
		t.Fatal(err, p.Check())
	}
	if err := os.WriteFile(path, []byte("#!/bin/sh\r\n"), 0o700); err != nil || p.Check() == nil {
		t.Error(err, "that it cannot be run any more is not found")
	}
	if _, err := p.Run(t.Context(), nil, strings.NewReader("")); !errors.Is(err, ErrStart) || !strings.Contains(err.Error(), "CR LF") {
		t.Error(err)
	}
}
