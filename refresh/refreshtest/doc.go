// Package refreshtest has what tests of refreshing need: Grants, an authorization
// server's memory of single-use refresh tokens; Provider, which serves it on loopback
// and can be as hostile as the internet; Memory, a refresh.Place that fails on
// demand; and TestPlace, which every refresh.Place has to pass.
//
// It is for tests alone and knows only package refresh.
package refreshtest
