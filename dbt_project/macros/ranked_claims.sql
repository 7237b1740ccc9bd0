{#
    Two steps of int_customer_links__resolved: of claims, one for each pair by its strongest rule, and those ranked from
    the customer's and from the record's side as <claims>_ranked.
#}
{% macro ranked_claims(claims) %}
{{ claims }}_strongest as (

    select
        claims.*,
        row_number() over (
            partition by claims.customer_id, claims.record_kind, claims.record_id
            order by claims.rule_rank, claims.evidence
        ) as rule_order
    from {{ claims }} as claims

),

{{ claims }}_ranked as (

    select
        strongest.customer_id,
        strongest.record_kind,
        strongest.record_id,
        strongest.rule_rank,
        strongest.rule,
        strongest.evidence,
        row_number() over (
            partition by strongest.customer_id, strongest.record_kind
            order by strongest.rule_rank, strongest.record_id
        ) as rank_for_customer,
        row_number() over (
            partition by strongest.record_kind, strongest.record_id
            order by strongest.rule_rank, customers.created_at, strongest.customer_id
        ) as rank_for_record
    from {{ claims }}_strongest as strongest
    inner join customers
        on strongest.customer_id = customers.customer_id
    where strongest.rule_order = 1

),
{% endmacro %}
