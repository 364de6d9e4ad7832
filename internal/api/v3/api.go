package v3

// API answers the routes.
type API struct{ Services }

// Services is what the API acts on. Every part declares the interface it needs
// in its own file.
type Services struct{}
