-- Health at the clock: the published day under the present rules, in words too. Customers without a live subscription
-- have no health: `unknown`.
{% set dimensions = var('dimensions') %}

with

customers as (

    select * from {{ ref('int_customers__subscribed') }}

),

history as (

    select *
    from {{ ref('customer_health_history') }}
    where
        rules_version = {{ rules_version() }}
        and as_of_date = {{ as_of_date() }}

),

names as (

    select *
    from {{ rules_in_one_row(
        ref('health_dimensions'), 'dimension', dimensions, {'name_en': dbt.type_string(), 'name_ja': dbt.type_string()}
    ) }} as one_row

),

final as (

    select
        customers.customer_id,
        {{ as_of_date() }} as as_of_date,
        {{ rules_version() }} as rules_version,
        history.health_score,
        coalesce(history.health_band, 'unknown') as health_band,
        cast(coalesce(history.coverage, 0) as decimal(5, 4)) as coverage,
        history.health_change_7d,
        history.health_change_28d,
        history.peer_score,
        history.weakest_dimension,
        case history.weakest_dimension
            {% for dimension in dimensions %}
            when '{{ dimension }}' then names.{{ dimension }}_name_en
            {% endfor %}
        end as weakest_dimension_en,
        case history.weakest_dimension
            {% for dimension in dimensions %}
            when '{{ dimension }}' then names.{{ dimension }}_name_ja
            {% endfor %}
        end as weakest_dimension_ja,
        {% for dimension in dimensions %}
        history.{{ dimension }}_score,
        {% endfor %}
        {% for dimension in dimensions %}
        history.{{ dimension }}_driver,
        {% endfor %}
        {{ drivers_in_words('en', dimensions) }} as drivers_en,
        {{ drivers_in_words('ja', dimensions) }} as drivers_ja
    from customers
    cross join names
    left join history
        on customers.customer_id = history.customer_id

)

select * from final
