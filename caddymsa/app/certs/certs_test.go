//go:build unix

package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
)

// a reading that began before the files were replaced, and ends after they were read
// again, does not bring the old certificate back.
func TestOlderReadingDoesNotWin(t *testing.T) {
	dir := t.TempDir()
	files := Files{Certificate: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	write := func(name string, content []byte) {
		t.Helper()
		if err := os.WriteFile(name+".new", content, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			t.Fatal(err)
		}
	}
	oldCert, oldKey := certificatePEM(t, 1)
	newCert, newKey := certificatePEM(t, 2)
	c := &Set{files: []Files{files}, log: zap.NewNop()}

	write(files.Certificate, oldCert)
	if err := syscall.Mkfifo(files.Key, 0o600); err != nil { // the key comes when the test wants
		t.Fatal(err)
	}
	old := make(chan error, 1)
	go func() { old <- c.load() }()
	pipe, err := os.OpenFile(files.Key, os.O_WRONLY, 0) // waits until the key is being read
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()

	write(files.Certificate, newCert)
	write(files.Key, newKey)
	again := make(chan struct{})
	go func() {
		defer close(again)
		c.reload()
	}()
	select {
	case <-again: // as it must not be
	case <-time.After(50 * time.Millisecond):
	}
	if _, err := pipe.Write(oldKey); err != nil {
		t.Fatal(err)
	}
	_ = pipe.Close()
	if err := <-old; err != nil {
		t.Fatal(err)
	}
	<-again
	if got := (*c.certs.Load())[0].Leaf.SerialNumber.Int64(); got != 2 {
		t.Errorf("certificate %d", got)
	}
}

func certificatePEM(t *testing.T, serial int64) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), DNSNames: []string{"msa.example.test"}}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
