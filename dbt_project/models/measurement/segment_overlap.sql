-- Which segments hold the same people, and the same customers, on the last day built: who would hear twice.
with

members as (

    select * from {{ ref('segment_members') }}

),

days as (

    select max(as_of_date) as as_of_date
    from members

),

contacts_in as (

    select distinct
        members.segment_name,
        members.member_id as contact_id
    from members
    inner join days
        on members.as_of_date = days.as_of_date
    where members.member_kind = 'contact'

),

customers_in as (

    select distinct
        members.segment_name,
        members.customer_id
    from members
    inner join days
        on members.as_of_date = days.as_of_date

),

contacts_shared as (

    select
        one.segment_name,
        other.segment_name as other_segment_name,
        count(*) as shared_contacts
    from contacts_in as one
    inner join contacts_in as other
        on one.contact_id = other.contact_id
    group by
        one.segment_name,
        other.segment_name

),

customers_shared as (

    select
        one.segment_name,
        other.segment_name as other_segment_name,
        count(*) as shared_customers
    from customers_in as one
    inner join customers_in as other
        on one.customer_id = other.customer_id
    group by
        one.segment_name,
        other.segment_name

),

-- what a segment shares with itself is all of it
final as (

    select
        customers_shared.segment_name,
        customers_shared.other_segment_name,
        cast(contacts_shared.shared_contacts as integer) as shared_contacts,
        {{ rounded(ratio('contacts_shared.shared_contacts', 'contacts_whole.shared_contacts'), 5, 4) }} as share_of_contacts,
        cast(customers_shared.shared_customers as integer) as shared_customers,
        {{ rounded(ratio('customers_shared.shared_customers', 'customers_whole.shared_customers'), 5, 4) }} as share_of_customers
    from customers_shared
    inner join customers_shared as customers_whole
        on
            customers_shared.segment_name = customers_whole.segment_name
            and customers_whole.other_segment_name = customers_whole.segment_name
    left join contacts_shared
        on
            customers_shared.segment_name = contacts_shared.segment_name
            and customers_shared.other_segment_name = contacts_shared.other_segment_name
    left join contacts_shared as contacts_whole
        on
            customers_shared.segment_name = contacts_whole.segment_name
            and contacts_whole.other_segment_name = contacts_whole.segment_name
    where customers_shared.segment_name <> customers_shared.other_segment_name

)

select * from final
