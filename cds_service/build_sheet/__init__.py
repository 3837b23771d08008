"""Write the build sheet of an EHR: everything that its analyst types, copies or maps to connect this service."""
