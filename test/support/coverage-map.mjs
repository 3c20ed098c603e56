// Every test may cover all of src except the generated database client. A file that runs from dist in
// a separate process (server, commands) is counted too, by its source map.
export default () => ['src/*.ts', 'src/!(generated)/**/*.ts']
