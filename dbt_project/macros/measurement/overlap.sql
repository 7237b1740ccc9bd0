{#
    Which two have the same people in them, and the same customers, on the last day built; each pair from both sides.

    members   relation with as_of_date, a column of names, member_kind, member_id and customer_id
    name      that column
#}
{% macro overlap(members, name) -%}
with

members as (

    select * from {{ members }}

),

days as (

    select max(as_of_date) as as_of_date
    from members

),

contacts_in as (

    select distinct
        members.{{ name }},
        members.member_id as contact_id
    from members
    inner join days
        on members.as_of_date = days.as_of_date
    where members.member_kind = 'contact'

),

customers_in as (

    select distinct
        members.{{ name }},
        members.customer_id
    from members
    inner join days
        on members.as_of_date = days.as_of_date

),

contacts_shared as (

    select
        one.{{ name }},
        other.{{ name }} as other_{{ name }},
        count(*) as shared_contacts
    from contacts_in as one
    inner join contacts_in as other
        on one.contact_id = other.contact_id
    group by
        one.{{ name }},
        other.{{ name }}

),

customers_shared as (

    select
        one.{{ name }},
        other.{{ name }} as other_{{ name }},
        count(*) as shared_customers
    from customers_in as one
    inner join customers_in as other
        on one.customer_id = other.customer_id
    group by
        one.{{ name }},
        other.{{ name }}

),

-- what one shares with itself is all of it
final as (

    select
        customers_shared.{{ name }},
        customers_shared.other_{{ name }},
        cast(contacts_shared.shared_contacts as integer) as shared_contacts,
        {{ rounded(ratio('contacts_shared.shared_contacts', 'contacts_whole.shared_contacts'), 5, 4) }} as share_of_contacts,
        cast(customers_shared.shared_customers as integer) as shared_customers,
        {{ rounded(ratio('customers_shared.shared_customers', 'customers_whole.shared_customers'), 5, 4) }} as share_of_customers
    from customers_shared
    inner join customers_shared as customers_whole
        on
            customers_shared.{{ name }} = customers_whole.{{ name }}
            and customers_whole.other_{{ name }} = customers_whole.{{ name }}
    left join contacts_shared
        on
            customers_shared.{{ name }} = contacts_shared.{{ name }}
            and customers_shared.other_{{ name }} = contacts_shared.other_{{ name }}
    left join contacts_shared as contacts_whole
        on
            customers_shared.{{ name }} = contacts_whole.{{ name }}
            and contacts_whole.other_{{ name }} = contacts_whole.{{ name }}
    where customers_shared.{{ name }} <> customers_shared.other_{{ name }}

)

select * from final
{%- endmacro %}
