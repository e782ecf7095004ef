package caddymsa

type observer struct{ store *store }
