// The description of the interface, shown by Swagger UI. Addresses are relative: a prefix does not matter.
SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#interface",
  deepLinking: true,
  validatorUrl: null,
});
