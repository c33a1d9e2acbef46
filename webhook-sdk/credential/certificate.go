package credential

import (
	"crypto"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"strings"

	"golang.org/x/crypto/ssh"

	"github.com/tvzero/tokenvault/webhook-sdk/wire"
)

const (
	maxKeyText         = 64 << 10 // bytes of one certificate, chain or key
	maxCertificates    = 16       // in a chain
	pemCertificate     = "CERTIFICATE"
	pemEncryptedKey    = "ENCRYPTED PRIVATE KEY"
	pemEncryptedHeader = "ENCRYPTED"
)

// checkCertificate parses certificate, key and chain. A key that can be read must
// be the certificate's; the certificate's end becomes expiryTime.
func (c *Credential) checkCertificate() error {
	leaf, err := parseCertificates(wire.FieldCertificateData, c.Secrets[wire.FieldCertificateData])
	if err != nil {
		return err
	}
	if chain := c.Secrets[wire.FieldCertificateChain]; chain != "" {
		if _, err := parseCertificates(wire.FieldCertificateChain, chain); err != nil {
			return err
		}
	}
	if text := c.Secrets[wire.FieldPrivateKeyData]; text != "" {
		public, err := publicOf(text)
		if err != nil {
			return err
		}
		own, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
		if public != nil && (!ok || !own.Equal(public)) {
			return invalid(wire.FieldPrivateKeyData, "is not the private key of the certificate in %s: store the two that belong together", wire.FieldCertificateData)
		}
	}
	c.Meta[MetaExpiryTime] = leaf.NotAfter.UnixMilli()
	c.Meta[MetaExpiresAt] = FormatTime(leaf.NotAfter)
	return nil
}

// parseCertificates reads PEM certificates, or one as base64 of DER, and returns
// the first.
func parseCertificates(field, text string) (*x509.Certificate, error) {
	if len(text) > maxKeyText {
		return nil, invalid(field, "is longer than %d bytes", maxKeyText)
	}
	malformed := invalid(field, "is neither PEM nor base64 of a certificate")
	if !strings.Contains(text, "-----BEGIN") {
		der, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
		if err != nil {
			return nil, malformed
		}
		if leaf, err := x509.ParseCertificate(der); err == nil {
			return leaf, nil
		}
		return nil, malformed
	}
	var first *x509.Certificate
	rest := []byte(text)
	for count := 0; ; count++ {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return nil, invalid(field, "also holds a private key: put that into %s", wire.FieldPrivateKeyData)
		}
		parsed, err := x509.ParseCertificate(block.Bytes)
		if err != nil || block.Type != pemCertificate || count >= maxCertificates {
			return nil, malformed
		}
		if first == nil {
			first = parsed
		}
	}
	if first == nil || strings.TrimSpace(string(rest)) != "" {
		return nil, malformed
	}
	return first, nil
}

// publicOf reads a private key in PEM and returns its public part, or nil if the
// key is encrypted.
func publicOf(text string) (crypto.PublicKey, error) {
	malformed := invalid(wire.FieldPrivateKeyData, "is not a private key in PEM")
	block, rest := pem.Decode([]byte(text))
	// An EC key may come with its parameters in a block before it.
	if block != nil && block.Type == "EC PARAMETERS" {
		block, rest = pem.Decode(rest)
	}
	if len(text) > maxKeyText || block == nil || strings.TrimSpace(string(rest)) != "" {
		return nil, malformed
	}
	if block.Type == pemEncryptedKey || strings.Contains(block.Headers["Proc-Type"], pemEncryptedHeader) {
		return nil, nil
	}
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, malformed
	}
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, malformed
	}
	return signer.Public(), nil
}

// checkSSHKey reads a private key as OpenSSH and OpenSSL write it. One with a
// passphrase is taken as it is: its key derivation is not run here.
func checkSSHKey(text string) error {
	if len(text) > maxKeyText {
		return invalid(wire.FieldSSHPrivateKey, "is longer than %d bytes", maxKeyText)
	}
	_, err := ssh.ParseRawPrivateKey([]byte(text))
	var locked *ssh.PassphraseMissingError
	if err != nil && !errors.As(err, &locked) {
		return invalid(wire.FieldSSHPrivateKey, "is not a private key that OpenSSH can read")
	}
	return nil
}
