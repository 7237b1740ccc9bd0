-- Share of the mails of the last 90 days that a person opened or clicked; nothing where no mail was delivered. A reaction
-- counts from its own day on, for as long as its mail does.
{%- set mails -%}
    (
        select
            customer_id,
            delivered_date,
            case when reacted_date is not null then greatest(reacted_date, delivered_date) end as reacted_date
        from {{ ref('int_mails__engaged') }}
    )
{%- endset %}
{%- set changes -%}
    (
        select customer_id, delivered_date as on_date, 1 as mails, 0 as reactions from {{ mails }} as delivered
        union all
        select customer_id, reacted_date as on_date, 0 as mails, 1 as reactions
        from {{ mails }} as reacted
        where {{ days_between('delivered_date', 'reacted_date') }} < 90
        union all
        select
            customer_id,
            {{ days_before('delivered_date', -90) }} as on_date,
            -1 as mails,
            case when {{ days_between('delivered_date', 'reacted_date') }} < 90 then -1 else 0 end as reactions
        from {{ mails }} as gone
    )
{%- endset %}
with

customer_days as (

    select * from {{ ref('int_customer_days') }}

),

totals as (

    select * from {{ running_totals(changes, ['mails', 'reactions']) }} as running

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        {{ ratio('totals.reactions', 'totals.mails') }} as raw_value,
        customer_days.mail_age_days as age_days
    from customer_days
    inner join totals
        on
            customer_days.customer_id = totals.customer_id
            and customer_days.as_of_date = totals.as_of_date
    where totals.mails > 0

)

select * from final
