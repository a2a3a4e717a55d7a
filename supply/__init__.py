"""What is shipped, and what it is made of: locks, bills of materials, licences, an audit."""
