// The page's scripts: `make lint` runs this where there is a node and an eslint.
const browser = [
  "CSS", "IntersectionObserver", "Intl", "Node", "URLSearchParams", "addEventListener", "clearTimeout", "document",
  "getSelection", "history", "innerHeight", "innerWidth", "localStorage", "location", "matchMedia", "print", "setTimeout", "window",
];

export default [
  {
    files: ["harness/reports/page/browser/*.js"],
    languageOptions: {ecmaVersion: 2024, sourceType: "module", globals: Object.fromEntries(browser.map(name => [name, "readonly"]))},
    linterOptions: {reportUnusedDisableDirectives: "error"},
    rules: {
      "array-callback-return": "error",
      eqeqeq: "error",
      "no-const-assign": "error",
      "no-dupe-args": "error",
      "no-dupe-keys": "error",
      "no-duplicate-imports": "error",
      "no-fallthrough": "error",
      "no-implicit-globals": "error",
      "no-redeclare": "error",
      "no-restricted-properties": ["error", {property: "innerHTML"}, {property: "outerHTML"}, {property: "insertAdjacentHTML"}],
      "no-self-assign": "error",
      "no-shadow": "error",
      "no-undef": "error",
      "no-unreachable": "error",
      "no-unused-vars": "error",
      "no-use-before-define": ["error", {functions: false, variables: false}],
      "no-var": "error",
      "prefer-const": "error",
      "valid-typeof": "error",
    },
  },
];
