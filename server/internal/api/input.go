package api

import (
	"net/url"
	"slices"
	"strconv"

	"github.com/gin-gonic/gin"
	"github.com/google/uuid"

	"github.com/tvzero/tokenvault/server/internal/fault"
	"github.com/tvzero/tokenvault/server/internal/vaults"
	"github.com/tvzero/tokenvault/server/internal/web"
)

// Limits in bytes of what a request may hold, before a service applies its own
// rules, which are tighter and speak of meaning.
const (
	maxService  = 128
	maxName     = 1 << 10
	maxText     = 16 << 10
	maxPassword = 4 << 10
	maxCursor   = 512
	maxURL      = 2 << 10
	maxScopes   = 32
	maxList     = 1000 // entries of a list, or of a page
)

// first returns the first error that is one.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// checkPassword limits a password's size alone: any character may be in it.
func checkPassword(field, password string) error {
	if len(password) > maxPassword {
		return fault.Field(field, "The password is longer than %d bytes.", maxPassword)
	}
	return nil
}

// pathService is the service name of a path.
func pathService(c *gin.Context) (string, error) {
	service := c.Param("service")
	return service, web.CheckText("service", service, maxService)
}

// pathID is the id of a path, of a kind of thing. What is not an id names nothing:
// NOT_FOUND.
func pathID(c *gin.Context, kind string) (uuid.UUID, error) {
	id, ok := parseID(c.Param("id"))
	if !ok {
		return uuid.Nil, notFound(kind)
	}
	return id, nil
}

func notFound(kind string) error {
	return fault.New(fault.NotFound, "There is no %s with this id.", kind)
}

// parseID takes the canonical form of an id alone; the library takes others.
func parseID(text string) (uuid.UUID, bool) {
	if len(text) != 36 {
		return uuid.Nil, false
	}
	id, err := uuid.Parse(text)
	return id, err == nil
}

// query parses a query string once, and refuses one that is not encoded as it
// should be rather than lose a part of it.
func query(c *gin.Context, known ...string) (url.Values, error) {
	values, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		return nil, fault.New(fault.InvalidRequest, "The query string is not encoded as it should be.")
	}
	for _, name := range known {
		if len(values[name]) > 1 {
			return nil, fault.Field(name, "The parameter %q is given twice.", name)
		}
		if err := web.CheckText(name, values.Get(name), maxCursor); err != nil {
			return nil, err
		}
	}
	return values, nil
}

func limitOf(values url.Values) (int, error) {
	if !values.Has("limit") {
		return 0, nil
	}
	limit, err := strconv.Atoi(values.Get("limit"))
	if err != nil || limit < 1 || limit > maxList {
		return 0, fault.Field("limit", "The limit must be a number from 1 to %d.", maxList)
	}
	return limit, nil
}

// flag reads a parameter that is "true" or "false"; left out it is false.
func flag(c *gin.Context, name string) (bool, error) {
	values, err := query(c, name)
	if err != nil || !values.Has(name) {
		return false, err
	}
	switch values.Get(name) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, fault.Field(name, "The parameter %q is true or false.", name)
}

// page reads limit and cursor.
func page(c *gin.Context) (vaults.Page, error) {
	values, err := query(c, "limit", "cursor")
	if err != nil {
		return vaults.Page{}, err
	}
	limit, err := limitOf(values)
	return vaults.Page{Limit: limit, Cursor: values.Get("cursor")}, err
}

// linkNext announces the next page of a plain array (RFC 8288).
func linkNext(c *gin.Context, p vaults.Page, next string) {
	if next == "" {
		return
	}
	values := url.Values{"cursor": {next}}
	if p.Limit > 0 {
		values.Set("limit", strconv.Itoa(p.Limit))
	}
	c.Header("Link", "<"+c.Request.URL.EscapedPath()+"?"+values.Encode()+`>; rel="next"`)
}

// itemsJSON is a page of a list.
type itemsJSON[T any] struct {
	Items      []T     `json:"items"`
	NextCursor *string `json:"nextCursor"` // null: there are no more
}

// cut takes a page out of a list that a service gave whole. The cursor is the id of
// the last entry of the page before; when that entry has gone meanwhile, there is no
// telling where to go on.
func cut[T any](list []T, p vaults.Page, id func(T) uuid.UUID) (part []T, next *string, err error) {
	if p.Cursor != "" {
		last, valid := parseID(p.Cursor)
		i := slices.IndexFunc(list, func(e T) bool { return valid && id(e) == last })
		if i < 0 {
			return nil, nil, fault.Field("cursor", "The cursor is not one that this list gave, or what it points to is gone. Start again without it.")
		}
		list = list[i+1:]
	}
	if p.Limit == 0 || len(list) <= p.Limit {
		return list, nil, nil
	}
	cursor := id(list[p.Limit-1]).String()
	return list[:p.Limit], &cursor, nil
}
