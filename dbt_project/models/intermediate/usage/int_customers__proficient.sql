-- How well a customer knows the product: the highest level that a third of its active contacts have reached.
with

contacts_used as (

    select * from {{ ref('int_contacts__used') }}

),

contacts_proficient as (

    select * from {{ ref('int_contacts__proficient') }}

),

levels as (

    select * from {{ ref('proficiency_levels') }}

),

active as (

    select
        contacts_used.customer_id,
        contacts_proficient.level
    from contacts_used
    inner join contacts_proficient
        on contacts_used.contact_id = contacts_proficient.contact_id
    where contacts_used.active_days_28d > 0

),

shares as (

    select
        active.customer_id,
        levels.level,
        {{ ratio('sum(case when active.level >= levels.level then 1 else 0 end)', 'count(*)') }} as share_reached
    from active
    cross join levels
    group by
        active.customer_id,
        levels.level

),

reached as (

    select
        customer_id,
        max(level) as level
    from shares
    where share_reached >= {{ threshold('proficient_contact_share') }}
    group by customer_id

),

final as (

    select
        reached.customer_id,
        levels.proficiency,
        levels.level
    from reached
    inner join levels
        on reached.level = levels.level

)

select * from final
